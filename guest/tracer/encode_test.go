package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// captured reads a line of each event type as EventsTrace printed it.
func captured(t *testing.T) map[string]map[string]any {
	t.Helper()
	b, err := os.ReadFile("testdata/eventstrace.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]map[string]any{}
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		m := decodeLine(t, []byte(line))
		out[m["event_type"].(string)] = m
	}
	return out
}

func decodeLine(t *testing.T, line []byte) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(line, &m); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return m
}

// shape gives the keys of a value with their JSON types.
func shape(prefix string, v any, out map[string]string) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			shape(prefix+"."+k, e, out)
		}
	case string:
		out[prefix] = "string"
	case float64:
		out[prefix] = "number"
	case bool:
		out[prefix] = "bool"
	case []any:
		out[prefix] = "list"
	default:
		out[prefix] = "other"
	}
}

// Every event has EventsTrace's fields, no more and no less, and of the same
// JSON types.
func TestShapeIsEventsTraces(t *testing.T) {
	lines := captured(t)
	notCaptured := []string{typeLoadModule, typeFileShmemOpen}
	for _, typ := range typeNames {
		theirs, ok := lines[typ]
		if !ok {
			if !slices.Contains(notCaptured, typ) {
				t.Errorf("%s: no captured line", typ)
			}
			continue
		}
		ev, err := decodeSample(zeroSample(typ))
		if err != nil {
			t.Fatal(err)
		}
		line, err := encodeLine(ev)
		if err != nil {
			t.Fatal(err)
		}
		want, got := map[string]string{}, map[string]string{}
		shape("", theirs, want)
		shape("", decodeLine(t, line), got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-EventsTrace +ours)\n%s", typ, diff)
		}
	}
}

func TestEncodeLine(t *testing.T) {
	path := "/tmp/a<b>\xff\n"
	line, err := encodeLine(fileEvent{
		common: common{typeFileCreate},
		Creds:  creds{CapPermitted: 1<<41 - 1},
		Info:   fileInfo{Mode: 0o100644},
		Path:   &path,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"cap_permitted":"2199023255551"`, `"mode":100644,`, `"path":"/tmp/a<b>\ufffd\n"`} {
		if !bytes.Contains(line, []byte(want)) {
			t.Errorf("no %s in %s", want, line)
		}
	}
}

func TestReadyLine(t *testing.T) {
	const want = `{"probes_initialized": true, "features": {"bpf_tramp": true,"ipv6": true}}` + "\n"
	if got := readyLine(true, true); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	s := bufio.NewScanner(strings.NewReader(readyLine(false, false)))
	for s.Scan() {
		decodeLine(t, s.Bytes())
	}
}
