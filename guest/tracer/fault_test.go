package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func testEvent() event {
	path := "/tmp/foo"
	return fileEvent{common: common{typeFileCreate}, PIDs: testPIDs, Path: &path}
}

func TestFaults(t *testing.T) {
	plain, err := encodeLine(testEvent())
	if err != nil {
		t.Fatal(err)
	}
	has := func(parts ...string) func(*testing.T, output) {
		return func(t *testing.T, o output) {
			for _, p := range parts {
				if !bytes.Contains(o.data, []byte(p)) {
					t.Errorf("no %s in %s", p, o.data)
				}
			}
			if !json.Valid(o.data) {
				t.Errorf("not JSON: %s", o.data)
			}
		}
	}
	is := func(want string) func(*testing.T, output) {
		return func(t *testing.T, o output) {
			if string(o.data) != want {
				t.Errorf("got %q, want %q", o.data, want)
			}
		}
	}
	tests := []struct {
		fault string
		check func(*testing.T, output)
	}{
		{"", is(string(plain))},
		{"drop=FILE_DELETE,double=FILE_DELETE,late=FILE_DELETE:1s,bad-json=FILE_DELETE", is(string(plain))},
		{"drop=FILE_CREATE", is("")},
		{"double=FILE_CREATE", is(string(plain) + string(plain))},
		{"bad-json=FILE_CREATE", is(string(plain[:len(plain)/2]) + "\n")},
		{"swap-pids", has(`"tid":10`, `"tgid":10`, `"ppid":11`, `"start_time_ns":7000000000`)},
		{"change=FILE_CREATE.file_info.mode=100777", has(`"mode":100777`)},
		{"change=FILE_CREATE.path=/tmp/bar", has(`"path":"/tmp/bar"`)},
		{"change=FILE_CREATE.new.field=true", has(`"new":{"field":true}`)},
		{"late=FILE_CREATE:2s", func(t *testing.T, o output) {
			if o.delay != 2*time.Second || string(o.data) != string(plain) {
				t.Errorf("got %v %s", o.delay, o.data)
			}
		}},
		{"long-line=FILE_CREATE", func(t *testing.T, o output) {
			if len(o.data) != longLine || !json.Valid(o.data) {
				t.Errorf("%d bytes, want %d of JSON", len(o.data), longLine)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.fault, func(t *testing.T) {
			f, err := parseFaults(tt.fault)
			if err != nil {
				t.Fatal(err)
			}
			o, err := f.render(testEvent())
			if err != nil {
				t.Fatal(err)
			}
			tt.check(t, o)
		})
	}
}

func TestParseFaultsErrors(t *testing.T) {
	for _, s := range []string{
		"unknown", "drop", "drop=", "drop=FILE_RENAMED", "late=FILE_CREATE", "late=FILE_CREATE:soon",
		"late=X:1s", "die-after=0", "die-after=x", "change=FILE_CREATE", "change=FILE_CREATE=1",
		"change=X.y=1", "swap-pids=1", "swap-pids,", "die-at-start=now", "ptrace", "ptrace=none",
	} {
		if _, err := parseFaults(s); err == nil {
			t.Errorf("%q: no error", s)
		} else if strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: more than one line: %v", s, err)
		}
	}
}

func TestParseFaults(t *testing.T) {
	f, err := parseFaults("die-after=3,never-ready,die-at-start")
	if err != nil {
		t.Fatal(err)
	}
	if f.dieAfter != 3 || !f.neverReady || !f.dieAtStart {
		t.Errorf("got %+v", f)
	}
}
