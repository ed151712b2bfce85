package guest_test

import (
	"io"
	"testing"
	"time"

	"github.com/elastic/bpf-kernel-check/guest"
)

// BenchmarkInitramfs builds the initramfs of the built-in tracer's check, which
// is done once for a run.
//
//	go test -run '^$' -bench Initramfs ./guest
func BenchmarkInitramfs(b *testing.B) {
	init, err := guest.Program(b.Context(), "amd64", guest.Init)
	if err != nil {
		b.Fatal(err)
	}
	tracer, err := guest.Program(b.Context(), "amd64", guest.Tracer)
	if err != nil {
		b.Fatal(err)
	}
	p, err := guest.EventsTracePayload(b.Context(), "amd64", tracer, time.Minute)
	if err != nil {
		b.Fatal(err)
	}
	archive, err := guest.Initramfs(init, p)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(archive)))
	for b.Loop() {
		if err := guest.WriteInitramfs(io.Discard, init, p); err != nil {
			b.Fatal(err)
		}
	}
}
