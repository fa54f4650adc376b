"""One module a trainer; each exposes `train(spec, out)`."""
