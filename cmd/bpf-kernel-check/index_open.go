package main

import "github.com/elastic/bpf-kernel-check/shard/index"

// openIndex opens the index that --index names; nil for none.
func openIndex(path string) (*index.Index, error) {
	if path == "" {
		return nil, nil
	}
	x, err := index.Open(path)
	if err != nil {
		return nil, usagef("--index: %w", err)
	}
	return x, nil
}
