package check

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

// seeds are the captured lines.
func seeds(f *testing.F, pattern string) {
	paths, err := filepath.Glob("../testdata/eventstrace/" + pattern)
	if err != nil || len(paths) == 0 {
		f.Fatal(pattern, err)
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for line := range bytes.Lines(b) {
			f.Add(bytes.TrimSpace(line))
		}
	}
}

// ParseLine accepts exactly the lines that are one JSON object, apart from
// events without a name, and finds in them what a full decoding finds.
func FuzzParseLine(f *testing.F) {
	seeds(f, "*.events.ndjson")
	for _, s := range []string{
		"", "{}", "null", "[]", "5", `{"event_type":5}`, `{"event_type":"A"}{}`, `{"event_type":"A","event_type":"B","pids":{"tgid":1}}`,
		`{"\u0065vent_type":"A", "pids" : { "tgid" : -1 } , "child_pids":[{"tgid":1}]}`, `{"event_type":"A","pids":{"tgid":18446744073709551615}}`,
		`{"a":"\\","b":"\"}{","event_type":"A\"","x":[[],{},"]"]}`, `{"lost":1}`, `{"probes_initialized":true}`, "{\"\xff\":1}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		line, err := ParseLine(b)
		var whole map[string]any
		d := json.NewDecoder(bytes.NewReader(b))
		d.UseNumber()
		valid := json.Valid(b) && d.Decode(&whole) == nil && whole != nil
		name, named := whole["event_type"]
		if text, ok := name.(string); named && (!ok || text == "") {
			valid = false
		}
		if valid != (err == nil) {
			t.Fatalf("error %v, valid %v", err, valid)
		}
		if err != nil || line.Event == nil {
			if err == nil && named {
				t.Fatal("an event was not seen")
			}
			return
		}
		if line.Event.Type != name {
			t.Errorf("type %q, want %q", line.Event.Type, name)
		}
		if !reflect.DeepEqual(line.Event.Fields(), Object(whole)) {
			t.Error("fields differ")
		}
		for _, pid := range line.Event.Pids {
			found := false
			for _, key := range []string{"pids", "parent_pids", "child_pids"} {
				v, ok := Object(whole).Lookup(key + ".tgid")
				found = found || ok && equal(v, pid)
			}
			if !found {
				t.Errorf("pid %d is nowhere in it", pid)
			}
		}
		var l Log
		l.Add(b, false, time.Second)
		if l.Lines != 1 || len(l.OfType(line.Event.Type)) != 1 {
			t.Error("the log did not keep it")
		}
	})
}

// Whatever a generator prints, a test ends in a verdict with a reason.
func FuzzOutput(f *testing.F) {
	seeds(f, "*.generators.ndjson")
	f.Add([]byte(`{"pid": 1e3, "ptrace_pid": "x", "child_pid": -0, "tgid": 1}`))
	log := &Log{}
	b, err := os.ReadFile("../testdata/eventstrace/debian-6.12.117-cloud-amd64.events.ndjson")
	if err != nil {
		f.Fatal(err)
	}
	for line := range bytes.Lines(b) {
		log.Add(bytes.TrimSpace(line), false, 0)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var captured struct{ Stdout string }
		if json.Unmarshal(b, &captured) == nil && captured.Stdout != "" {
			b = []byte(captured.Stdout)
		}
		for _, test := range Tests() {
			r := Verify(test, Run{Log: log, Outputs: map[string]Output{test.Generator: {Stdout: string(b)}}})
			if r.Verdict == "" || r.Verdict != "pass" && r.Details == "" {
				t.Errorf("%s: %+v", test.Name, r)
			}
		}
	})
}
