"""Our games under the interfaces of other libraries: one module for each, which alone imports it."""
