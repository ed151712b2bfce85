package testrunner

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/elastic/bpf-kernel-check/guest/testrunner/check"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/google/go-cmp/cmp"
)

// The captured streams give exactly the verdicts written beside them.
func TestCaptured(t *testing.T) {
	expected, err := filepath.Glob("testdata/eventstrace/*.expected.json")
	if err != nil || len(expected) != 3 {
		t.Fatalf("captures: %v, %v", expected, err)
	}
	for _, path := range expected {
		base := strings.TrimSuffix(path, ".expected.json")
		t.Run(filepath.Base(base), func(t *testing.T) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var want struct {
				Verdicts map[string]string `json:"verdicts"`
			}
			if err := json.Unmarshal(b, &want); err != nil {
				t.Fatal(err)
			}
			o := capture{base + ".events.ndjson", base + ".generators.ndjson", path}.checked(t)
			want.Verdicts[check.StartTest], want.Verdicts[check.StreamTest] = wire.TestPass, wire.TestPass
			if d := cmp.Diff(want.Verdicts, o.verdicts()); d != "" {
				t.Errorf("verdicts (-want +got):\n%s", d)
			}
			if o.code != exitFail {
				t.Errorf("exit status %d, want %d: MemfdCreate fails on it", o.code, exitFail)
			}
			golden(t, filepath.Base(base), o.stdout)
		})
	}
}

func TestReplayFull(t *testing.T) {
	o := fullStream(t).replayed(t)
	if o.code != exitPass || len(o.failed()) > 0 {
		t.Errorf("exit status %d\n%s", o.code, failures(o.stdout))
	}
	for name, v := range o.verdicts() {
		if v != wire.TestPass {
			t.Errorf("%s: %s", name, v)
		}
	}
}

// What is wrong in a stream makes exactly the tests fail that it concerns.
func TestReplayWrong(t *testing.T) {
	set := func(path ...any) func(map[string]any) {
		return func(e map[string]any) {
			for _, key := range path[:len(path)-2] {
				e = e[key.(string)].(map[string]any)
			}
			key, value := path[len(path)-2].(string), path[len(path)-1]
			if value == nil {
				delete(e, key)
			} else {
				e[key] = value
			}
		}
	}
	const gen = `"tgid":622,` // create_rename_delete_file
	tests := []struct {
		name  string
		spoil func(t *testing.T, s *stream)
		want  []string
	}{
		{"missing-rename", func(t *testing.T, s *stream) { s.drop(s.find(t, "FILE_RENAME", gen)) }, []string{"FileRename"}},
		{"doubled-rename", func(t *testing.T, s *stream) {
			i := s.find(t, "FILE_RENAME", gen)
			s.insert(i+3, s.lines[i])
		}, []string{"FileRename"}},
		{"doubled-with-another-mode", func(t *testing.T, s *stream) {
			i := s.find(t, "FILE_DELETE", gen)
			s.insert(i+1, s.edited(t, i, set("file_info", "mode", 100600)))
		}, []string{"FileDelete"}},
		{"late-delete", func(t *testing.T, s *stream) {
			i := s.find(t, "FILE_DELETE", gen)
			line := s.lines[i]
			s.drop(i)
			s.lines = append(s.lines, line)
		}, []string{"FileDelete"}},
		{"behind-its-own-exit", func(t *testing.T, s *stream) {
			a, b := s.find(t, "FILE_DELETE", gen), s.find(t, "PROCESS_EXIT", gen)
			s.lines[a], s.lines[b] = s.lines[b], s.lines[a]
		}, []string{"FileDelete"}},
		{"changed-mode", func(t *testing.T, s *stream) {
			s.edit(t, s.find(t, "FILE_CREATE", gen), set("file_info", "mode", 100600))
		}, []string{"FileCreate"}},
		{"changed-type", func(t *testing.T, s *stream) {
			s.edit(t, s.find(t, "PROCESS_SETUID", ""), set("new_ruid", "5"))
		}, []string{"Setuid"}},
		{"missing-field", func(t *testing.T, s *stream) {
			s.edit(t, s.find(t, "PROCESS_EXEC", `"./do_nothing"`), set("env", nil))
		}, []string{"ForkExec"}},
		{"extra-field", func(t *testing.T, s *stream) {
			s.edit(t, s.find(t, "FILE_CREATE", gen), set("new", map[string]any{"a": 1}))
		}, nil},
		{"large-inode", func(t *testing.T, s *stream) {
			s.edit(t, s.find(t, "FILE_CREATE", gen), set("file_info", "inode", json.Number("18446744073709551615")))
		}, nil},
		{"zero-inode", func(t *testing.T, s *stream) {
			s.edit(t, s.find(t, "FILE_CREATE", gen), set("file_info", "inode", 0))
		}, []string{"FileCreate"}},
		{"caps-off-by-one", func(t *testing.T, s *stream) {
			s.edit(t, s.find(t, "PROCESS_EXEC", `"./do_nothing"`), set("creds", "cap_effective", "2199023255550"))
		}, []string{"ForkExec"}},
		{"wrong-namespace", func(t *testing.T, s *stream) {
			s.edit(t, s.find(t, "PROCESS_FORK", `"parent_pids":{"tid":612,`), set("ns", "time", 1))
		}, []string{"ForkExit"}},
		{"child-in-another-session", func(t *testing.T, s *stream) {
			s.edit(t, s.find(t, "PROCESS_FORK", `"parent_pids":{"tid":612,`), set("child_pids", "sid", 614))
		}, []string{"ForkExit"}},
		{"no-exit-of-the-child", func(t *testing.T, s *stream) {
			s.drop(s.find(t, "PROCESS_EXIT", `"tgid":614,`))
		}, []string{"ForkExit"}},
		{"thread-as-fork", func(t *testing.T, s *stream) {
			i := s.find(t, "PROCESS_FORK", `"parent_pids":{"tid":612,`)
			s.insert(i, s.edited(t, i, set("child_pids", "tgid", 612)))
		}, []string{"ForkExit"}},
		{"modify-in-wrong-order", func(t *testing.T, s *stream) {
			a, b := s.find(t, "FILE_MODIFY", `"size":4,`), s.find(t, "FILE_MODIFY", `"size":14,`)
			s.lines[a], s.lines[b] = s.lines[b], s.lines[a]
		}, []string{"FileModify"}},
		{"one-modify-too-many", func(t *testing.T, s *stream) {
			i := s.find(t, "FILE_MODIFY", `"size":4,`)
			s.insert(i, s.edited(t, i, set("file_info", "size", 7)))
		}, []string{"FileModify"}},
		{"server-closed-first", func(t *testing.T, s *stream) {
			a := s.find(t, "NETWORK_CONNECTION_CLOSED", `"source_address":"::1","source_port":2048`)
			s.lines[a], s.lines[a-1] = s.lines[a-1], s.lines[a]
		}, []string{"Tcpv6ConnectionClose"}},
		{"ports-not-swapped-in-accept", func(t *testing.T, s *stream) {
			s.edit(t, s.find(t, "NETWORK_CONNECTION_ACCEPTED", `"127.0.0.1"`), func(e map[string]any) {
				n := e["net"].(map[string]any)
				n["source_port"], n["destination_port"] = n["destination_port"], n["source_port"]
			})
		}, []string{"Tcpv4ConnectionAccept"}},
		{"tty-window", func(t *testing.T, s *stream) {
			s.edit(t, s.find(t, "PROCESS_TTY_WRITE", ""), set("tty", "winsize_rows", 24))
		}, []string{"TtyWrite"}},
		{"ptrace-of-another", func(t *testing.T, s *stream) {
			s.edit(t, s.find(t, "PROCESS_PTRACE", ""), set("child_pid", 1))
		}, []string{"Ptrace"}},
		{"not-a-memfd", func(t *testing.T, s *stream) {
			s.edit(t, s.find(t, "PROCESS_EXEC", `"is_memfd":true`), set("is_memfd", false))
		}, []string{"MemfdCreate"}},
		{"outside-path-of-container", func(t *testing.T, s *stream) {
			s.edit(t, s.find(t, "FILE_DELETE", `"/bar.txt"`), set("path", "/tmp/container/root/bar.txt"))
		}, []string{"FileDeleteContainer"}},
		{"overlay-s-own-work", func(t *testing.T, s *stream) {
			i := s.find(t, "FILE_DELETE", `"/bar.txt"`)
			s.insert(i, s.edited(t, i, set("path", "/scratch/work/#1")))
		}, nil},
		{"features", func(t *testing.T, s *stream) {
			s.lines[0] = `{"probes_initialized": true, "features": {"bpf_tramp": false,"ipv6": true}}`
		}, []string{"FeaturesCorrect"}},
		{"invalid-json", func(t *testing.T, s *stream) {
			i := s.find(t, "FILE_CREATE", gen)
			s.lines[i] = s.lines[i][:200]
		}, []string{"FileCreate", check.StreamTest}},
		{"two-events-on-a-line", func(t *testing.T, s *stream) {
			i := s.find(t, "FILE_CREATE", gen)
			s.lines[i] += s.lines[i]
		}, []string{"FileCreate", check.StreamTest}},
		{"terminal-escapes", func(t *testing.T, s *stream) {
			s.insert(5, "\x1b[2J--- PASS: everything\xff")
		}, []string{check.StreamTest}},
		{"line-of-1-MiB", func(t *testing.T, s *stream) {
			s.edit(t, s.find(t, "PROCESS_EXEC", `"./do_nothing"`), func(e map[string]any) {
				e["env"] = append(e["env"].([]any), "X="+strings.Repeat("x", 1<<20))
			})
		}, nil},
		{"line-of-5-MiB", func(t *testing.T, s *stream) {
			s.insert(5, `{"event_type":"X","x":"`+strings.Repeat("x", 5<<20)+`"}`)
		}, []string{check.StreamTest}},
		{"lost-events", func(t *testing.T, s *stream) { s.insert(9, `{"lost_events": 12}`) }, []string{check.StreamTest}},
		{"failed-generator", func(t *testing.T, s *stream) {
			s.outputs["shmget"] = "shmget: function not implemented"
		}, []string{"Shmget"}},
		{"nothing-printed", func(t *testing.T, s *stream) { s.outputs["setregid"] = "" }, []string{"Setgid"}},
		{"key-not-printed", func(t *testing.T, s *stream) {
			s.outputs["ptrace"] = `{"ptrace_pid": 663, "request": 16}`
		}, []string{"Ptrace"}},
		{"swapped-pids", func(t *testing.T, s *stream) {
			for i := range s.lines[1:] {
				s.edit(t, i+1, func(e map[string]any) {
					for _, key := range []string{"pids", "parent_pids", "child_pids"} {
						if p, ok := e[key].(map[string]any); ok {
							p["tid"], p["tgid"], p["ppid"] = p["ppid"], p["ppid"], p["tgid"]
						}
					}
				})
			}
		}, everyTestBut("FeaturesCorrect")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := fullStream(t)
			tt.spoil(t, s)
			o := s.replayed(t)
			if d := cmp.Diff(tt.want, o.failed()); d != "" {
				t.Errorf("failed tests (-want +got):\n%s\n%s", d, failures(o.stdout))
			}
			if len(tt.want) > 0 {
				golden(t, "replay-"+tt.name, shortened(failures(o.stdout)))
			}
		})
	}
}

// everyTestBut names the tests of events without some.
func everyTestBut(without ...string) []string {
	var names []string
	for _, test := range check.Tests() {
		if !contains(without, test.Name) {
			names = append(names, test.Name)
		}
	}
	return names
}

func contains(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}

// shortened keeps golden files readable.
func shortened(out string) string {
	var b strings.Builder
	n := 0
	for line := range strings.Lines(out) {
		if n++; n > 60 {
			b.WriteString("[... more ...]\n")
			break
		}
		if i := strings.Index(line, "the line: "); i >= 0 && len(line) > i+60 {
			line = line[:i+60] + "...\n"
		}
		b.WriteString(line)
	}
	return b.String()
}

func TestSkips(t *testing.T) {
	s := fullStream(t)
	s.outputs["create_rename_delete_file_container"] = `mount(NULL, ovl_mountpoint, "overlay", 0, mount_flags): No such device`
	base := func(t *testing.T, args ...string) outcome {
		dir := t.TempDir()
		s.write(t, dir)
		// The captured facts are without overlayfs.
		return capture{filepath.Join(dir, "events"), filepath.Join(dir, "outputs"), captured + ".expected.json"}.checked(t, args...)
	}
	o := base(t)
	if o.code != exitPass || o.verdicts()["FileCreateContainer"] != wire.TestSkip {
		t.Errorf("exit status %d, verdicts %v", o.code, o.verdicts())
	}
	if out := o.output("FileCreateContainer"); !strings.Contains(out, "no overlayfs on this kernel") {
		t.Errorf("reason %q", out)
	}
	o = base(t, "--require", "FileRenameContainer")
	if d := cmp.Diff([]string{"FileRenameContainer"}, o.failed()); d != "" || o.code != exitFail {
		t.Errorf("exit status %d, failed tests (-want +got):\n%s", o.code, d)
	}
	// With overlayfs the same error is a failure.
	o = s.replayed(t)
	if d := cmp.Diff([]string{"FileCreateContainer", "FileRenameContainer", "FileDeleteContainer"}, o.failed()); d != "" {
		t.Errorf("failed tests (-want +got):\n%s", d)
	}
}

func TestNothingPassed(t *testing.T) {
	s := fullStream(t)
	s.lines[0] = `{ "eventstrace_message": "probes initialized"}`
	o := s.replayed(t, "--run", "FeaturesCorrect")
	if o.code != exitFail || o.verdicts()["FeaturesCorrect"] != wire.TestSkip {
		t.Errorf("exit status %d, want %d: nothing was tested\n%s", o.code, exitFail, o.stdout)
	}
}

func TestUsage(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--run", "NoSuch"}, `--run "NoSuch" matches no test: want one of Start, FeaturesCorrect, `},
		{[]string{"--run", "("}, `--run "(": error parsing regexp`},
		{[]string{"--require", "NoSuch"}, `--require "NoSuch": no such test, want one of Start, `},
		{[]string{"--run", "Fork", "--require", "Setuid"}, `--require "Setuid": --run "Fork" does not select it`},
		{[]string{"--timeout", "0s"}, "--timeout 0s: want a time above 0"},
		{[]string{"--nosuch"}, "flag provided but not defined: -nosuch"},
		{[]string{"x"}, `unexpected argument "x"`},
	} {
		o := testRun(t, tt.args...)
		if o.code != exitUsage || !strings.Contains(o.stderr, tt.want) || strings.Count(o.stderr, "\n") != 1 {
			t.Errorf("%q: exit status %d, stderr %q, want one line with %q", tt.args, o.code, o.stderr, tt.want)
		}
	}
	if o := testRun(t, "--help"); o.code != exitPass || !strings.Contains(o.stderr, "-events-trace") {
		t.Errorf("--help: exit status %d, stderr %q", o.code, o.stderr)
	}
	if o := testRun(t, "--list"); o.code != exitPass || strings.Count(o.stdout, "\n") != len(allNames()) {
		t.Errorf("--list: exit status %d, stdout %q", o.code, o.stdout)
	}
}
