"""The games in a browser: jaxprs as JavaScript, and the pages around them. Nothing else imports this."""
