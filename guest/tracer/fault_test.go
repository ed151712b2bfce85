package main

import (
	"strings"
	"testing"
)

func TestFaults(t *testing.T) {
	path := "/tmp/foo"
	event := fileEvent{common: common{typeFileCreate}, PIDs: testPIDs, Path: &path}
	plain, err := encodeLine(event)
	if err != nil {
		t.Fatal(err)
	}
	for fault, want := range map[string][]string{
		"":                 {string(plain)},
		"drop=FILE_DELETE": {string(plain)},
		"drop=FILE_CREATE": nil,
		"swap-pids":        {`"tid":10`, `"tgid":10`, `"ppid":11`, `"start_time_ns":7000000000`},
	} {
		f, err := parseFault(fault)
		if err != nil {
			t.Fatal(err)
		}
		line, err := f.render(event)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range want {
			if !strings.Contains(string(line), part) {
				t.Errorf("%s: no %s in %s", fault, part, line)
			}
		}
		if want == nil && line != nil {
			t.Errorf("%s: %s", fault, line)
		}
	}
}

func TestParseFaultErrors(t *testing.T) {
	for _, s := range []string{"unknown", "drop", "drop=", "drop=FILE_RENAMED", "swap-pids=1", "die-at-start=now", "ptrace", "ptrace=none"} {
		if _, err := parseFault(s); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, want an error in one line", s, err)
		}
	}
}
