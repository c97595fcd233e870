// Draw a batch of frames as a plain C program would: copy the background, then every cell's glyph, row by row.
#include <stdint.h>
#include <string.h>

struct grid {
  int32_t top, left, rows, cols, height, width;  // the first cell's corner; how many cells; a cell's size in pixels
  const uint8_t *glyphs;                         // [number][height][width][3]
  const int32_t *ids;                            // [frames][rows][cols]
};

void draw(uint8_t *frames, const uint8_t *background, int32_t count, int32_t size, const struct grid *grids, int32_t grid_count) {
  const size_t frame_bytes = (size_t)size * size * 3;
  for (int32_t number = 0; number < count; number++) {
    uint8_t *frame = frames + number * frame_bytes;
    memcpy(frame, background, frame_bytes);
    for (const struct grid *grid = grids; grid < grids + grid_count; grid++) {
      const int32_t *id = grid->ids + (size_t)number * grid->rows * grid->cols;
      const size_t line = (size_t)grid->width * 3;
      for (int32_t row = 0; row < grid->rows; row++)
        for (int32_t col = 0; col < grid->cols; col++, id++) {
          const uint8_t *glyph = grid->glyphs + *id * grid->height * line;
          uint8_t *pixel = frame + ((grid->top + row * grid->height) * (size_t)size + grid->left + col * grid->width) * 3;
          for (int32_t y = 0; y < grid->height; y++, glyph += line, pixel += (size_t)size * 3) memcpy(pixel, glyph, line);
        }
    }
  }
}
