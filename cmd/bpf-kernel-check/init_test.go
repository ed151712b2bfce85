package main

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/elastic/bpf-kernel-check/report/entries"
)

// initTrees are a repository of each kind that init knows.
var initTrees = map[string]fstest.MapFS{
	"go":         {"go.mod": {}, "probe_test.go": {}},
	"go-below":   {"agent/go.mod": {}, "agent/probe/probe_test.go": {}, "zz/go.mod": {}, "zz/x_test.go": {}},
	"go-nested":  {"go.mod": {}, "x.go": {}, "tools/go.mod": {}, "tools/gen/gen_test.go": {}},
	"rust":       {"Cargo.toml": {}},
	"cmake":      {"CMakeLists.txt": {}, "src/CMakeLists.txt": {}},
	"tracer":     {"CMakeLists.txt": {}, "Events/EventsTrace/CMakeLists.txt": {}},
	"tracer-dir": {"CMakeLists.txt": {}, "EventsTrace/CMakeLists.txt": {}},
	"traced":     {"EventsTrace": {}},
	"objects":    {"x.bpf.o": {}, "bpf/y.bpf.o": {}},
	"source":     {"bpf/y.bpf.c": {}},
	"empty":      {},
}

// What init writes is a file that the program reads, and has nothing from a
// repository that would have to be quoted.
func TestInitFiles(t *testing.T) {
	for kind, tree := range initTrees {
		p, err := lookAt(tree)
		if err != nil {
			t.Fatal(err)
		}
		all, err := entries.ReadSettings(strings.NewReader(p.file()), configName)
		if err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		payload := 0
		for _, s := range all {
			switch s.Key {
			case "go", "tests", "events-trace", "objects":
				payload++
			case "kernels", "out", "timeout-total", "comment":
			default:
				t.Errorf("%s: it sets %s", kind, s.Key)
			}
		}
		if want := 1; kind != "empty" && payload != want || kind == "empty" && payload != 0 {
			t.Errorf("%s: it has %d payloads\n%s", kind, payload, p.file())
		}
	}
	for name, want := range map[string]string{
		"a\nb/x.bpf.o": "nothing to test", "a b/x.bpf.o": "nothing to test", "${{x}}/go.mod": "nothing to test", "vendor/x/Cargo.toml": "nothing to test",
		".hidden/Cargo.toml": "nothing to test", "a/b/Cargo.toml": "a Cargo package, a/b/Cargo.toml", "go.mod": "nothing to test", "x.bpf.o/y": "nothing to test",
	} {
		p, err := lookAt(fstest.MapFS{name: {}})
		if err != nil || !strings.HasPrefix(p.what, want) {
			t.Errorf("%q: %s, %v, want %s", name, p.what, err, want)
		}
	}
	// The one that is nearest to the root.
	if p, err := lookAt(fstest.MapFS{"a/b/Cargo.toml": {}, "z/Cargo.toml": {}}); err != nil || !strings.HasSuffix(p.what, " z/Cargo.toml") {
		t.Errorf("%s, %v", p.what, err)
	}
	// A test is of the module that is nearest to it.
	for kind, want := range map[string]string{
		"go": "go: ./...\n", "go-below": "go:\n  - ./agent/...\n  - ./zz/...\n", "go-nested": "go: ./tools/...\n",
		"tracer-dir": "events-trace: ./build/bpf-events-trace\n", // EventsTrace is a directory
	} {
		if p, err := lookAt(initTrees[kind]); err != nil || !strings.HasSuffix(p.payload, "\n"+want) {
			t.Errorf("%s: %s, %v, want %q", kind, p.payload, err, want)
		}
	}
}
