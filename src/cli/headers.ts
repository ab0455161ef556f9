/**
 * How long the headers of a request may be: uWebSockets.js reads it from the environment when it is loaded, so this
 * is imported before it. Its own 4 KiB are too few for a `Last-Event-ID`, which is a cursor or several.
 */
process.env['UWS_HTTP_MAX_HEADERS_SIZE'] ??= String(16 * 1024);
