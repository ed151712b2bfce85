package testrunner

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/elastic/bpf-kernel-check/guest/testrunner/check"
)

const captured = "testdata/eventstrace/debian-6.12.117-cloud-amd64"

func capturedFacts(t *testing.T) check.Facts {
	t.Helper()
	f, err := readCapturedFacts(captured + ".expected.json")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// stream is a captured run, completed by hand so that all tests pass on it:
// by the exec that the capture lost, a container's events, and the marker's.
type stream struct {
	lines   []string
	outputs map[string]string
}

const (
	memfdPid     = 650 // of the capture
	containerPid = 700
	markerPid    = 800
)

func fullStream(t *testing.T) *stream {
	t.Helper()
	s := &stream{outputs: map[string]string{}}
	b, err := os.ReadFile(captured + ".events.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		s.lines = append(s.lines, strings.TrimSuffix(line, "\n"))
	}
	outputs, err := readOutputs(captured + ".generators.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	for name, o := range outputs {
		s.outputs[name] = o.Stdout
	}
	s.outputs["create_rename_delete_file_container"] = fmt.Sprintf(`{"child_pid": %d, "filename_orig": "/foo.txt", "filename_new": "/bar.txt"}`, containerPid)
	s.outputs[markerGenerator] = fmt.Sprintf(`{"tid": %[1]d, "ppid": 1, "tgid": %[1]d, "sid": 0, "pgid": 0, "child_pid": %d}`, markerPid, markerPid+1)

	exec := s.edited(t, s.find(t, "PROCESS_EXEC", `"tgid":650,`), func(e map[string]any) {
		e["is_memfd"], e["inode_nlink"], e["filename"], e["comm"] = true, 0, ".", "3"
	})
	s.lines = append(s.lines, exec)
	for event, old := range map[string]string{"FILE_CREATE": "/tmp/foo", "FILE_RENAME": "/tmp/foo", "FILE_DELETE": "/tmp/bar"} {
		s.lines = append(s.lines, s.edited(t, s.find(t, event, old), func(e map[string]any) {
			pids := e["pids"].(map[string]any)
			pids["tid"], pids["tgid"], pids["ppid"] = containerPid, containerPid, containerPid-1
			for key, path := range map[string]string{"path": "", "old_path": "/foo.txt", "new_path": "/bar.txt"} {
				if e[key] == nil {
					continue
				}
				e[key] = path
				if key == "path" {
					e[key] = map[string]string{"FILE_CREATE": "/foo.txt", "FILE_DELETE": "/bar.txt"}[event]
				}
			}
		}))
	}
	// The map above has no order.
	slices.SortFunc(s.lines[len(s.lines)-3:], strings.Compare)
	fork := s.edited(t, s.find(t, "PROCESS_FORK", `"parent_pids":{"tid":612,`), func(e map[string]any) {
		p, c := e["parent_pids"].(map[string]any), e["child_pids"].(map[string]any)
		p["tid"], p["tgid"], p["ppid"] = markerPid, markerPid, 1
		c["tid"], c["tgid"], c["ppid"] = markerPid+1, markerPid+1, markerPid
	})
	s.lines = append(s.lines, fork)
	return s
}

// find returns the index of the only line of a type that holds a text.
func (s *stream) find(t *testing.T, event, text string) int {
	t.Helper()
	found := -1
	for i, line := range s.lines {
		if strings.Contains(line, `"event_type":"`+event+`"`) && strings.Contains(line, text) {
			if found >= 0 {
				t.Fatalf("several %s lines hold %q", event, text)
			}
			found = i
		}
	}
	if found < 0 {
		t.Fatalf("no %s line holds %q", event, text)
	}
	return found
}

// edited returns a line with its event changed.
func (s *stream) edited(t *testing.T, i int, change func(map[string]any)) string {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(s.lines[i]))
	d.UseNumber()
	var e map[string]any
	if err := d.Decode(&e); err != nil {
		t.Fatal(err)
	}
	change(e)
	b, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func (s *stream) edit(t *testing.T, i int, change func(map[string]any)) {
	t.Helper()
	s.lines[i] = s.edited(t, i, change)
}

func (s *stream) drop(i int)                { s.lines = slices.Delete(s.lines, i, i+1) }
func (s *stream) insert(i int, line string) { s.lines = slices.Insert(s.lines, i, line) }

func (s *stream) text() string { return strings.Join(s.lines, "\n") + "\n" }

// write puts the stream where a replay and the fake programs read it.
func (s *stream) write(t *testing.T, dir string) {
	t.Helper()
	var gens bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(s.outputs)) {
		b, err := json.Marshal(map[string]string{"generator": name, "stdout": s.outputs[name]})
		if err != nil {
			t.Fatal(err)
		}
		gens.Write(append(b, '\n'))
	}
	for name, text := range map[string]string{"events": s.text(), "outputs": gens.String()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// replayed checks the stream, with overlayfs.
func (s *stream) replayed(t *testing.T, args ...string) outcome {
	t.Helper()
	dir := t.TempDir()
	s.write(t, dir)
	facts := capturedFacts(t)
	facts.Overlayfs = true
	b, err := json.Marshal(facts)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "facts"), b, 0o644); err != nil {
		t.Fatal(err)
	}
	return capture{filepath.Join(dir, "events"), filepath.Join(dir, "outputs"), filepath.Join(dir, "facts")}.checked(t, args...)
}
