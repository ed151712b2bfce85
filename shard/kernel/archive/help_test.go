package archive

import (
	"context"
	"testing"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
)

func source(t testing.TB, spec string, c *kernel.Cache) kernel.Source {
	t.Helper()
	s, err := New(spec, c)
	if err != nil {
		t.Fatal(err)
	}
	if s.String() != spec {
		t.Errorf("String %q, want %q", s.String(), spec)
	}
	return s
}

// open lists a path and opens its only kernel.
func open(t testing.TB, c *kernel.Cache, path string) *kernel.Image {
	t.Helper()
	s, err := New(path, c)
	if err != nil {
		t.Fatal(err)
	}
	refs, err := s.List(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if len(refs) != 1 {
		t.Fatalf("%d kernels, want 1", len(refs))
	}
	im, err := s.Open(context.Background(), refs[0])
	if err != nil {
		t.Fatal(err)
	}
	return im
}
