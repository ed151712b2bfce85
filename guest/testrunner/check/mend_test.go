package check

import (
	"encoding/json"
	"strings"
	"testing"
)

const ttyHead = `{"event_type":"PROCESS_TTY_WRITE","pids":{"tid":1,"tgid":1,"ppid":0,"pgid":0,"sid":0,"start_time_ns":15000000},"tty_out_len":7,"tty_out_truncated":0,"tty_out":"`

func TestMend(t *testing.T) {
	const frame = `~b 1 0a {"type":"run","run":{"name":"ForkExit","paused":true},"list":["a","b"]}` + `\n`
	const exec = `{"event_type":"PROCESS_EXEC","pids":{"tid":5,"tgid":5},"creds":{"ruid":0},"ctty":{"major":4,"minor":64},"filename":"./a","cwd":"/","pids_ss_cgroup_path":"/","argv":"`
	for _, tt := range []struct {
		name, line string
		path, want string // what one of its texts is then
	}{
		{"quotes", ttyHead + `say "hi"` + `"}`, "tty_out", `say "hi"`},
		{"a quote at the end", ttyHead + `"""}`, "tty_out", `""`},
		{"a frame of ours", ttyHead + frame + `"}`, "tty_out", strings.Replace(frame, `\n`, "\n", 1)},
		{"a frame that is cut", ttyHead + frame[:40] + `"}`, "tty_out", frame[:40]},
		{"escapes of C", ttyHead + `a\x1bb\xffffffe2\\c\"` + `"}`, "tty_out", "a\x1bb\u00e2\\c\""},
		{"quotes before the last text", `{"event_type":"FILE_CREATE","pids":{"tid":5,"tgid":5},"path":"/a"b","mount_namespace":5,"comm":"x"y"}`, "path", `/a"b`},
		{"quotes in arguments", exec + `sh -c echo "a", "b": {}` + `"}`, "argv", `sh -c echo "a", "b": {}`},
	} {
		if json.Valid([]byte(tt.line)) {
			t.Errorf("%s: is JSON", tt.name)
		}
		got, ok := mend([]byte(tt.line))
		if !ok {
			t.Errorf("%s: not mended: %s", tt.name, tt.line)
			continue
		}
		o, err := ParseObject(got)
		if v, _ := o.Lookup(tt.path); err != nil || v != tt.want {
			t.Errorf("%s: %q, want %q (%v)", tt.name, v, tt.want, err)
		}
	}
	whole := ttyHead + `say "hi"` + `"}`
	for i := range whole { // a line that was cut is a broken one
		if _, ok := mend([]byte(whole[:i])); ok {
			t.Errorf("mended what was cut: %s", whole[:i])
		}
	}
	for _, line := range []string{
		whole + whole, whole + ",", whole[1:], strings.Replace(whole, "tty_out_len", `tty"out`, 1),
		strings.Replace(whole, `:7,`, `:,`, 1), strings.Replace(whole, `"tid":1`, `"tid":1 "`, 1),
		`{"probes_initialized":true,"x":"a"b"}`, `{"event_type":"","x":"a"b"}`, `{"event_type":"A","x":"a"b\x1"}`, `{"event_type":"A","x":"a\`,
	} {
		if m, ok := mend([]byte(line)); ok {
			t.Errorf("mended %s as %s", line, m)
		}
	}
}

// What is not escaped does not count against an older build, nor against any
// where we wrote it ourselves; what is cut always does.
func TestStreamUnescaped(t *testing.T) {
	old, current := ParseHelp("--all --print-initialized"), Build{}
	other := strings.ReplaceAll(ttyHead, `"tgid":1,`, `"tgid":77,`)
	create := `{"event_type":"FILE_CREATE","pids":{"tid":1,"tgid":1},"path":"/a"b","comm":"x"}`
	for _, tt := range []struct {
		name  string
		build Build
		line  string
		want  string // what Stream says; "": it passes
	}{
		{"an older build", old, other + `a "b"` + `"}`, ""},
		{"a current build", current, other + `a "b"` + `"}`, "not escaped"},
		{"a current build, our text", current, ttyHead + `a "b"` + `"}`, ""},
		{"a current build, another event of ours", current, create, "not escaped"},
		{"an older build, cut", old, other + `a "b`, "no JSON object"},
		{"a current build, our text, cut", current, ttyHead + `a "b`, "no JSON object"},
		{"an older build, no event", old, `hello`, "no JSON object"},
	} {
		l := &Log{Own: []int64{1}}
		l.Add([]byte(tt.line), false, 0)
		r := verifyStream(Run{Build: tt.build, Log: l.Clone()}, nil)
		if (r.Verdict == "pass") != (tt.want == "") || !strings.Contains(r.Details, tt.want) {
			t.Errorf("%s: %s: %s", tt.name, r.Verdict, r.Details)
		}
		if tt.name == "an older build" && !strings.Contains(r.Details, "not held to: escaping") {
			t.Errorf("%s: what it is not held to is not said: %q", tt.name, r.Details)
		}
	}
}

// A mended line is an event, and JSON that is sound is let be.
func FuzzMend(f *testing.F) {
	seeds(f, "*.events.ndjson")
	for _, s := range []string{ttyHead + `a "b"` + `"}`, ttyHead + `\x1b\xffffffe2` + `"}`, ttyHead + `{"a":"b","pids":{"tgid":5}}` + `"}`, ttyHead} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, ok := mend(b)
		if !ok {
			return
		}
		if l, err := ParseLine(m); err != nil || l.Event == nil {
			t.Fatalf("%q is mended as %q: %v", b, m, err)
		}
		if len(m) > 6*len(b) {
			t.Fatalf("%d bytes became %d", len(b), len(m))
		}
	})
}
