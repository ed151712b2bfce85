package testrunner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/testrunner/check"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/google/go-cmp/cmp"
)

// The options of a current build, and of one before 2022-09.
const (
	newHelp = "  -a, --all\n --file-create --file-delete --file-rename --file-modify --process-fork --process-exec --process-exit --process-setuid --process-setgid --process-tty-write --process-memfd-create --process-shmget --process-ptrace --net-conn-accept --net-conn-attempt --net-conn-closed\n  -i, --print-features-on-init  x\n  -u, --unbuffer-stdout  x\n  -v, --libbpf-verbose\n"
	oldHelp = "  -a, --all\n --file-create --file-delete --file-rename --process-fork --process-exec --process-exit --process-setuid --process-setgid --net-conn-accept --net-conn-attempt --net-conn-closed\n  -i, --print-initialized  x\n  -t, --set-bpf-tramp\n  -u, --unbuffer-stdout  x\n"
)

// install puts the fake programs and what they need into a directory, and
// returns testrunner's arguments.
func install(t *testing.T, p plan, s *stream) (dir string, args []string) {
	t.Helper()
	dir = t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	script, err := filepath.Abs("testdata/fake/generators")
	if err != nil {
		t.Fatal(err)
	}
	tracer, generators := filepath.Join(dir, "EventsTrace"), filepath.Join(dir, "generators")
	for name, program := range map[string]string{tracer: self, generators: script} {
		if err := os.Symlink(program, name); err != nil {
			t.Fatal(err)
		}
	}
	if p.Help == "" {
		p.Help = newHelp
	}
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"plan": string(b), "dieswith": p.DiesWith + "\n", "stdout-" + markerGenerator: "\n"}
	for name, out := range s.outputs {
		files["stdout-"+name] = out + "\n"
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, startedFIFO), 0o600); err != nil {
		t.Fatal(err)
	}
	s.write(t, dir)
	return dir, []string{"--events-trace", tracer, "--generators", generators, "--dir", dir, "--timeout", "60s"}
}

// butStart are all tests that cannot be judged when the tracer does not start.
func butStart() []string { return append(everyTestBut(), check.StreamTest) }

func TestLive(t *testing.T) {
	none := func(*testing.T, *stream) {}
	const gen = `"tgid":622,` // create_rename_delete_file
	onlyStart, onlyStream := []string{check.StartTest}, []string{check.StreamTest}
	afterShmget := []string{"FileCreateContainer", "FileRenameContainer", "FileDeleteContainer", "Ptrace", "MemfdCreate"}
	for _, tt := range []struct {
		name  string
		plan  plan
		spoil func(t *testing.T, s *stream)
		args  []string
		want  []string // tests that fail
		lost  []string // tests that cannot be judged
	}{
		{"good", plan{}, none, nil, nil, nil},
		{"no-help", plan{Help: "?"}, none, nil, nil, nil},
		{"never-ready", plan{First: 20, Stderr: "libbpf: loading object\n"}, func(_ *testing.T, s *stream) { s.drop(0) }, []string{"--timeout", "5s"}, onlyStart, butStart()},
		{"silent", plan{NoEvents: true}, none, []string{"--timeout", "5s"}, onlyStart, butStart()},
		{"dies-at-start", plan{NoEvents: true, Exit: 1, Stderr: "libbpf: prog 'x': BPF program load failed: -22\nCould not load event probes: -22\n"}, none, nil, onlyStart, butStart()},
		{"dies-in-the-middle", plan{First: 134, DiesWith: "shmget", Exit: 3, Stderr: "libbpf: log\n"}, none, nil, onlyStream, afterShmget},
		{"killed-in-the-middle", plan{First: 134, DiesWith: "shmget", Signal: true}, none, nil, onlyStream, afterShmget},
		{"ends-after-all-events", plan{DiesWith: markerGenerator, Exit: 4}, none, nil, onlyStream, nil},
		{"closes-its-stdout", plan{First: 134, DiesWith: "shmget", CloseStdout: true}, none, nil, onlyStream, afterShmget},
		{"stops-printing", plan{First: 134}, none, []string{"--timeout", "30s"}, onlyStream, afterShmget},
		{"doubled", plan{}, func(t *testing.T, s *stream) {
			s.lines = append(s.lines, s.lines[s.find(t, "FILE_RENAME", gen)])
		}, nil, []string{"FileRename"}, nil},
		{"late", plan{}, func(t *testing.T, s *stream) {
			i := s.find(t, "FILE_DELETE", gen)
			line := s.lines[i]
			s.drop(i)
			s.lines = append(s.lines, line)
		}, nil, []string{"FileDelete"}, nil},
		{"missing", plan{Stderr: "libbpf: all is well\n"}, func(t *testing.T, s *stream) {
			s.drop(s.find(t, "FILE_RENAME", gen))
			s.drop(s.find(t, "PROCESS_SHMGET", ""))
		}, nil, []string{"FileRename", "Shmget"}, nil},
		{"changed", plan{}, func(t *testing.T, s *stream) {
			i := s.find(t, "FILE_CREATE", gen)
			s.lines[i] = strings.Replace(s.lines[i], `"mode":100644`, `"mode":100600`, 1)
		}, nil, []string{"FileCreate"}, nil},
		{"invalid-json", plan{}, func(t *testing.T, s *stream) {
			i := s.find(t, "FILE_CREATE", gen)
			s.lines[i] = s.lines[i][:100]
		}, nil, []string{"FileCreate", check.StreamTest}, nil},
		{"line-of-1-MiB", plan{}, func(t *testing.T, s *stream) {
			s.insert(9, `{"event_type":"X","x":"`+strings.Repeat("x", 1<<20)+`"}`)
		}, nil, nil, nil},
		{"flood-of-20-MB", plan{Flood: 20 << 20}, none, nil, nil, nil},
		{"flood-of-100-MB-in-a-line", plan{FloodLine: 100 << 20}, none, []string{"--run", "Setuid|Setgid"}, []string{check.StreamTest}, nil},
		{"stderr-flood", plan{Stderr: strings.Repeat("libbpf: verbose\n", 100_000)}, none, nil, nil, nil},
		{"lost-on-stderr", plan{Stderr: "tracer: lost 12 FILE_MODIFY events: the ring buffer was full\n"}, none, nil, []string{check.StreamTest}, nil},
		{"generator-fails", plan{}, func(_ *testing.T, s *stream) { s.outputs["setreuid"] = "fail" }, nil, []string{"Setuid"}, nil},
		{"generator-hangs", plan{}, func(_ *testing.T, s *stream) { s.outputs["setreuid"] = "hang" }, []string{"--timeout", "30s"}, []string{"Setuid"}, nil},
		{"no-marker-event", plan{}, func(_ *testing.T, s *stream) { s.lines = s.lines[:len(s.lines)-1] }, []string{"--timeout", "30s"}, []string{check.StreamTest}, nil},
		{"marker-fails", plan{}, func(_ *testing.T, s *stream) { s.outputs[markerGenerator] = "fail" }, nil, []string{check.StreamTest}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.plan.Flood+tt.plan.FloodLine == 0 { // those would starve the others
				t.Parallel()
			}
			s := fullStream(t)
			tt.spoil(t, s)
			dir, args := install(t, tt.plan, s)
			o := testRun(t, append(args, tt.args...)...)
			if d := cmp.Diff(tt.want, o.failed()); d != "" {
				t.Errorf("failed tests (-want +got):\n%s\n%s", d, shortened(failures(o.stdout)))
			}
			if (o.code == exitPass) != (len(tt.want) == 0) {
				t.Errorf("exit status %d", o.code)
			}
			for name, v := range o.verdicts() {
				if v == wire.TestSkip {
					t.Errorf("%s was skipped: %s", name, o.output(name))
				}
			}
			incomplete, passed := "", 0
			if len(tt.lost) > 0 && !slices.Equal(tt.want, onlyStart) {
				incomplete = fmt.Sprintf("%d tests could not be judged", len(tt.lost))
			}
			if o.done.Incomplete != incomplete {
				t.Errorf("incomplete: %q, want %q", o.done.Incomplete, incomplete)
			}
			for name, v := range o.verdicts() {
				if v == wire.TestPass {
					passed++
				}
				if contains(tt.lost, name) {
					t.Errorf("%s: %s, but it could not be judged", name, v)
				}
			}
			if all := len(butStart()) + 1; passed+len(tt.want)+len(tt.lost) != all && !contains(tt.args, "--run") {
				t.Errorf("%d passed, %d failed, %d not judged; want %d in all", passed, len(tt.want), len(tt.lost), all)
			}
			if d := cmp.Diff([]string{"load", "test"}[:len(o.phases)], o.phases); d != "" || len(o.phases) == 0 {
				t.Errorf("phases: %v", o.phases)
			}
			if tt.plan.Stderr != "" && len(tt.want) > 0 && strings.Count(o.stdout, strings.SplitN(tt.plan.Stderr, "\n", 2)[0]) == 0 {
				t.Error("the tracer's stderr is not in the output")
			}
			if strings.Count(o.stdout, "EventsTrace's stderr") > 1 {
				t.Error("the tracer's stderr is shown more than once")
			}
			if len(tt.want) > 0 {
				// Which tests run beside the one that it dies with is a matter of luck.
				out := regexp.MustCompile(`(?m)when it ended, .*$`).ReplaceAllString(shortened(failures(o.stdout)), "when it ended, TESTS ran")
				golden(t, "live-"+tt.name, strings.ReplaceAll(out, dir, "DIR"))
			}
		})
	}
}

func TestArguments(t *testing.T) {
	for _, tt := range []struct{ name, help, want string }{
		{"new", newHelp, "--all --print-features-on-init --unbuffer-stdout --libbpf-verbose"},
		{"old", oldHelp, "--all --print-initialized --set-bpf-tramp --unbuffer-stdout"},
		{"none", "what?", "--all --print-features-on-init --unbuffer-stdout --libbpf-verbose"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, args := install(t, plan{Help: tt.help}, fullStream(t))
			testRun(t, append(args, "--run", "Setuid")...)
			got, err := os.ReadFile(filepath.Join(dir, "args"))
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != tt.want {
				t.Errorf("started with %q, want %q", got, tt.want)
			}
		})
	}
}

// An older build lacks events, and fields of those it has: the tests of the
// former are skipped, those of the latter pass.
func TestOlderBuild(t *testing.T) {
	s := fullStream(t)
	s.lines[0] = `{ "eventstrace_message": "probes initialized"}`
	for i := range s.lines[1:] {
		s.edit(t, i+1, func(e map[string]any) {
			for _, key := range []string{"ns", "env", "is_memfd", "is_setuid", "is_setgid", "inode_nlink", "comm", "file_info", "creds"} {
				delete(e, key)
			}
			if e["filename"] == "/do_nothing" {
				e["filename"] = "./do_nothing"
			}
		})
	}
	_, args := install(t, plan{Help: oldHelp}, s)
	o := testRun(t, args...)
	if len(o.failed()) > 0 || o.code != exitPass {
		t.Errorf("exit status %d\n%s", o.code, failures(o.stdout))
	}
	var skipped []string
	for name, v := range o.verdicts() {
		if v == wire.TestSkip {
			skipped = append(skipped, name)
			if out := o.output(name); !strings.Contains(out, "--help has no --") {
				t.Errorf("%s: reason %q", name, out)
			}
		}
	}
	if len(skipped) != 6 {
		t.Errorf("skipped %v", skipped)
	}
	// The same stream from a build that knows all options is broken.
	_, args = install(t, plan{}, s)
	if o := testRun(t, args...); !contains(o.failed(), "ForkExec") {
		t.Errorf("failed: %v", o.failed())
	}
	_, args = install(t, plan{Help: oldHelp}, s)
	if o := testRun(t, append(args, "--require", "FileModify")...); !contains(o.failed(), "FileModify") || len(o.failed()) != 1 {
		t.Errorf("with --require, failed: %v", o.failed())
	}
}

// What a build of June 2022 prints is held to what its time's tester asserted,
// and to nothing less: see the table.
func TestBuildOf2022(t *testing.T) {
	const exec = "./do_nothing"
	june := func(t *testing.T) *stream {
		s := fullStream(t)
		s.lines[0] = `{ "eventstrace_message": "probes initialized"}`
		for i := 1; i < len(s.lines); i++ {
			s.edit(t, i, func(e map[string]any) {
				for _, key := range []string{"ns", "env", "is_memfd", "is_setuid", "is_setgid", "inode_nlink", "file_info", "tty"} {
					delete(e, key)
				}
				if c, ok := e["creds"].(map[string]any); ok && e["event_type"] == "PROCESS_EXEC" {
					delete(c, "cap_permitted")
					delete(c, "cap_effective")
				} else {
					delete(e, "creds")
				}
				if argv, ok := e["argv"].([]any); ok {
					words := make([]string, len(argv))
					for i, a := range argv {
						words[i] = a.(string)
					}
					e["argv"] = strings.Join(words, " ")
				}
				if e["filename"] == "/do_nothing" {
					e["filename"] = exec
				}
				if text, ok := e["tty_out"].(string); ok {
					e["tty_out_len"] = len(text)
				}
			})
		}
		// Of a connection only the server's close is reported.
		for i := len(s.lines) - 1; i > 0; i-- {
			if strings.Contains(s.lines[i], `"NETWORK_CONNECTION_CLOSED"`) && strings.Contains(s.lines[i], `"destination_port":2048`) {
				s.drop(i)
			}
		}
		// Our own frames are tty writes, and nothing is escaped.
		s.insert(9, `{"event_type":"PROCESS_TTY_WRITE","pids":{"tid":1,"tgid":1,"ppid":0,"pgid":0,"sid":0,"start_time_ns":1},"tty_out_len":30,"tty_out_truncated":0,"tty_out":"~ 1 {"type":"run","run":{}}\n"}`)
		return s
	}
	const oldHelp = "  -a, --all\n --file-create --file-delete --file-rename --process-fork --process-exec --process-exit --process-setsid --process-setuid --process-setgid --process-tty-write --net-conn-accept --net-conn-attempt --net-conn-closed\n  -i, --print-initialized  x\n  -u, --unbuffer-stdout  x\n  -v, --libbpf-verbose\n --set-bpf-tramp\n"
	replace := func(event, text, old, new string) func(*testing.T, *stream) {
		return func(t *testing.T, s *stream) {
			i := s.find(t, event, text)
			if !strings.Contains(s.lines[i], old) {
				t.Fatalf("%s has no %s", s.lines[i], old)
			}
			s.lines[i] = strings.Replace(s.lines[i], old, new, 1)
		}
	}
	for _, tt := range []struct {
		name  string
		help  string
		spoil func(*testing.T, *stream)
		want  []string
	}{
		{"as it was", oldHelp, func(*testing.T, *stream) {}, nil},
		{"another program is executed", oldHelp, replace("PROCESS_EXEC", `"argv":"./do_nothing"`, `"argv":"./do_nothing"`, `"argv":"./do_something"`), []string{"ForkExec"}},
		{"another working directory", oldHelp, replace("PROCESS_EXEC", `"argv":"./do_nothing"`, `"cwd":"/"`, `"cwd":"/x"`), []string{"ForkExec"}},
		{"a length that is wrong", oldHelp, replace("PROCESS_TTY_WRITE", `--- OK`, `"tty_out_len":7`, `"tty_out_len":6`), []string{"TtyWrite"}},
		{"another text", oldHelp, replace("PROCESS_TTY_WRITE", `--- OK`, `--- OK`, `--- KO`), []string{"TtyWrite"}},
		{"no close at all", oldHelp, func(t *testing.T, s *stream) {
			for i := len(s.lines) - 1; i > 0; i-- {
				if strings.Contains(s.lines[i], `"NETWORK_CONNECTION_CLOSED"`) && strings.Contains(s.lines[i], `"AF_INET"`) {
					s.drop(i)
				}
			}
		}, []string{"Tcpv4ConnectionClose"}},
		{"a line that is cut", oldHelp, func(t *testing.T, s *stream) { s.lines[9] = s.lines[9][:len(s.lines[9])-4] }, []string{check.StreamTest}},
		// The forms of 2022 are no excuse for a build that knows today's options.
		{"a current build", newHelp, func(*testing.T, *stream) {}, []string{
			"ForkExec", "FileCreate", "FileModify", "FileRename", "FileDelete", "ForkExit", "TtyWrite", "Tcpv4ConnectionClose", "Tcpv6ConnectionClose", "MemfdCreate",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := june(t)
			tt.spoil(t, s)
			_, args := install(t, plan{Help: tt.help}, s)
			o := testRun(t, args...)
			if tt.help == newHelp {
				for _, name := range tt.want {
					if o.verdicts()[name] != wire.TestFail {
						t.Errorf("%s: %s, want a failure", name, o.verdicts()[name])
					}
				}
				return
			}
			if d := cmp.Diff(tt.want, o.failed()); d != "" {
				t.Errorf("failed tests (-want +got):\n%s\n%s", d, shortened(failures(o.stdout)))
			}
			if out := o.output(check.StartTest); !strings.Contains(out, "an older build, for its --help has no --print-features-on-init, --file-modify") {
				t.Errorf("the result does not say by what the build is known: %q", out)
			}
			for name, want := range map[string]string{"Tcpv6ConnectionClose": "NETWORK_CONNECTION_CLOSED of the client's side", "TtyWrite": "tty.major", "ForkExec": "env"} {
				if out := o.output(name); o.verdicts()[name] == wire.TestPass && (!strings.Contains(out, "not held to: ") || !strings.Contains(out, want)) {
					t.Errorf("%s does not say what it is not held to: %q", name, out)
				}
			}
		})
	}
}

// The one cause names the test that ran when the tracer died, and no generator
// is started any more.
func TestDiesWith(t *testing.T) {
	for _, tt := range []struct {
		name string
		plan plan
		how  string
	}{
		{"exit", plan{Exit: 3}, "exit status 3"},
		{"signal", plan{Signal: true}, "signal: killed"},
		{"closed stdout", plan{CloseStdout: true}, "it closed its stdout"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.plan.First, tt.plan.DiesWith = 1, "fork_exit"
			dir, args := install(t, tt.plan, fullStream(t))
			o := testRun(t, append(args, "--run", "^ForkExit$")...)
			if d := cmp.Diff([]string{check.StreamTest}, o.failed()); d != "" {
				t.Errorf("failed tests (-want +got):\n%s", d)
			}
			out := o.output(check.StreamTest)
			named := regexp.MustCompile("^EventsTrace ended before the tests did: " + tt.how + "\nwhen it ended, (ForkExit ran|no test ran; before it, ForkExit had run)\nnot judged: ForkExit\nits stderr is empty\nit printed no event$")
			if !named.MatchString(out) || o.done.Incomplete != "1 test could not be judged" {
				t.Errorf("incomplete: %q\n%s", o.done.Incomplete, out)
			}
			if _, err := os.Stat(filepath.Join(dir, "ran-"+markerGenerator)); err == nil {
				t.Error("the marker ran after the tracer had died")
			}
		})
	}
}

// Missing events of several tests are waited for together, once; without one
// there is no wait, and a tracer that is gone is not waited for.
func TestWaits(t *testing.T) {
	for _, tt := range []struct {
		name   string
		plan   plan
		events []string // that do not come
		failed int
		want   int
	}{
		{"none missing", plan{}, nil, 0, 0},
		{"one missing", plan{}, []string{"PROCESS_SHMGET"}, 1, 1},
		{"of many tests", plan{}, []string{"PROCESS_SHMGET", "PROCESS_SETUID", "PROCESS_SETGID", "PROCESS_PTRACE", "NETWORK_CONNECTION_ACCEPTED", "NETWORK_CONNECTION_CLOSED"}, 8, 1},
		{"gone", plan{DiesWith: markerGenerator, Exit: 1}, []string{"PROCESS_SHMGET", "PROCESS_SETUID"}, 1, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := fullStream(t)
			for i := len(s.lines) - 1; i > 0; i-- {
				for _, event := range tt.events {
					if strings.Contains(s.lines[i], `"event_type":"`+event+`"`) {
						s.drop(i)
						break
					}
				}
			}
			_, args := install(t, tt.plan, s)
			o := testRun(t, args...)
			if got := o.paused[newLimits(time.Minute).grace]; got != tt.want || len(o.failed()) != tt.failed {
				t.Errorf("waited %d times for events, want %d; failed %v, want %d", got, tt.want, o.failed(), tt.failed)
			}
		})
	}
}

// The flags of a process as /proc/PID/stat has them.
func TestExiting(t *testing.T) {
	for stat, want := range map[string]bool{
		"138 (EventsTrace) R 134 134 134 0 -1 4194308 1 2":    true,
		"138 (a) b) R) S 134 134 134 0 -1 4194308 1 2":        true,
		"138 (EventsTrace) S 134 134 134 0 -1 4194304 1 2":    false,
		"138 (EventsTrace) S 134 134 134 0 -1":                false,
		"138 (EventsTrace) S 134 134 134 0 -1 many 0 0 0 0 0": false,
		"": false,
	} {
		if got := exitingStat(stat); got != want {
			t.Errorf("%q: %v", stat, got)
		}
	}
	if exiting(os.Getpid()) {
		t.Error("this process does not exit")
	}
}

func TestNoTracer(t *testing.T) {
	dir, args := install(t, plan{}, fullStream(t))
	if err := os.Remove(filepath.Join(dir, "EventsTrace")); err != nil {
		t.Fatal(err)
	}
	o := testRun(t, args...)
	if d := cmp.Diff([]string{check.StartTest}, o.failed()); d != "" || len(o.tests) != 1 || o.done.Incomplete != "" {
		t.Errorf("%d tests, incomplete: %q; failed (-want +got):\n%s", len(o.tests), o.done.Incomplete, d)
	}
	if out := o.output(check.StartTest); !strings.Contains(out, "EventsTrace: no such file or directory\nnot judged: 23 tests: FeaturesCorrect, ForkExit, ") {
		t.Errorf("reason %q", out)
	}
}

func TestInterrupted(t *testing.T) {
	_, args := install(t, plan{NoEvents: true}, fullStream(t))
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	var out strings.Builder
	m := machine{now: time.Now, pause: pause, facts: func(string) check.Facts { return capturedFacts(t) }}
	if code := run(ctx, args, &out, io.Discard, wire.NewReporter(io.Discard), m); code != exitFail || !strings.Contains(out.String(), "interrupted") {
		t.Errorf("exit status %d\n%s", code, out.String())
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("channel closed") }

// A report that did not get through is no pass.
func TestReportLost(t *testing.T) {
	_, args := install(t, plan{}, fullStream(t))
	var out strings.Builder
	m := machine{now: time.Now, pause: pause, facts: func(string) check.Facts {
		f := capturedFacts(t)
		f.Overlayfs = true
		return f
	}}
	code := run(context.Background(), args, &out, io.Discard, wire.NewReporter(brokenWriter{}), m)
	if code != exitFail || !strings.Contains(out.String(), "FAIL: the report to init is incomplete: channel closed") {
		t.Errorf("exit status %d\n%s", code, out.String())
	}
}
