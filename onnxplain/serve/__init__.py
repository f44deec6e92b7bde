"""A server that predicts and explains over HTTP; needs the extra `serve`."""
