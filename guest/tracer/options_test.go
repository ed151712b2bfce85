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
		{"-aiuv", typeNames[:], options{printFeatures: true, verbose: true}},
		{
			"--file-create --net-conn-accept --print-features-on-init",
			[]string{typeFileCreate, typeNetAccepted},
			options{printFeatures: true},
		},
		{"--unbuffer-stdout --libbpf-verbose", nil, options{verbose: true}},
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
	for _, arg := range []string{"-", "-x", "-ax", "--file", "--all=what", "file", "--file-create-not"} {
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

// The selectors are those of EventsTrace.
func TestSelectors(t *testing.T) {
	want := "process-fork process-exec process-exit process-setsid process-setuid process-setgid process-tty-write process-memfd-create " +
		"process-shmget process-ptrace process-load-module file-create file-rename file-delete file-modify file-memfd-open " +
		"file-shmem-open net-conn-attempt net-conn-accept net-conn-closed"
	for i, name := range strings.Fields(want) {
		o, err := parseOptions([]string{"--" + name})
		if err != nil || len(o.events) != 1 || !o.events[typeNames[i]] {
			t.Errorf("--%s selects %v, %v", name, o.events, err)
		}
	}
}
