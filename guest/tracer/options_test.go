package main

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseOptions(t *testing.T) {
	tests := []struct {
		args   string
		events []string
		want   options
	}{
		{"", nil, options{}},
		{"-a", typeNames[:], options{}},
		{"--all -i -u", typeNames[:], options{printFeatures: true}},
		{"-aiuvs", typeNames[:], options{printFeatures: true, verbose: true, stats: true}},
		{"--file-create --net-conn-accept --print-features-on-init", []string{typeFileCreate, typeNetAccepted},
			options{printFeatures: true}},
		{"--unbuffer-stdout --libbpf-verbose --stats --kprobes-only", nil,
			options{verbose: true, stats: true, kprobesOnly: true}},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			got, err := parseOptions(strings.Fields(tt.args))
			if err != nil {
				t.Fatal(err)
			}
			want := slices.Sorted(slices.Values(tt.events))
			if diff := cmp.Diff(want, slices.Sorted(maps.Keys(got.events))); diff != "" {
				t.Errorf("events (-want +got)\n%s", diff)
			}
			got.events = nil
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(options{})); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestParseOptionsErrors(t *testing.T) {
	for _, arg := range []string{"--", "-", "-x", "-ax", "--file", "--all=1", "file", "--file-create-not"} {
		if _, err := parseOptions([]string{arg}); err == nil || !strings.Contains(err.Error(), "--help") {
			t.Errorf("%q: got %v, want an error that names --help", arg, err)
		}
	}
	for _, arg := range []string{"--help", "-h", "-?"} {
		if _, err := parseOptions([]string{arg}); !errors.Is(err, errHelp) {
			t.Errorf("%q: got %v, want %v", arg, err, errHelp)
		}
	}
}

// Each event type has its own selector.
func TestSelectorsAreComplete(t *testing.T) {
	got := map[string]bool{}
	for _, s := range selectors() {
		o, err := parseOptions([]string{"--" + s.name})
		if err != nil {
			t.Fatal(err)
		}
		if len(o.events) != 1 {
			t.Errorf("--%s selects %v", s.name, o.events)
		}
		maps.Copy(got, o.events)
	}
	for _, typ := range typeNames {
		if !got[typ] {
			t.Errorf("no option selects %s", typ)
		}
	}
}
