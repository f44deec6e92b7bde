"""Tables with some rules replaced: the same walk, carrying something else than derivatives."""
