package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// --cover counts for a program of a root file system as well, and for one that is
// brought into it.
func TestCoverInRoot(t *testing.T) {
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, test := range []string{"sh -c true", script} {
		o := payloadOptions{tests: []string{test}, cover: true, hostRoot: true, workdir: "/"}
		o.programs, _ = o.specs()
		if p, err := readProgram(t.Context(), o, userRoot{host: true}, "", 0); err != nil || p.Job.Cover != wire.CoverDir {
			t.Errorf("%s: %v, cover %q", test, err, p.Job.Cover)
		}
	}
}
