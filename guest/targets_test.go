package guest

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTargets(t *testing.T) {
	in := "\x7fELF...\x00fentry/vfs_unlink\x00kprobe/tcp_connect\x00fentry/vfs_unlink\x00lsm.s/file_open\x00tp_btf/sched_process_fork\x00" +
		"text with fentry/none inside\x00kprobe/\x00fentry/a-b\x00tracepoint/a/b\x00xkprobe/no\x00kretprobe/end"
	want := []string{"fentry/vfs_unlink", "kprobe/tcp_connect", "lsm.s/file_open", "tp_btf/sched_process_fork"}
	if d := cmp.Diff(want, Targets([]byte(in))); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	longest := "raw_tracepoint.s/" + strings.Repeat("x", 128)
	for in, want := range map[string][]string{"\x00" + longest + "\x00": {longest}, "\x00" + longest + "x\x00": nil, "/": nil, "\x00lsm/": nil, "lsm/a\x00": nil} {
		if d := cmp.Diff(want, Targets([]byte(in))); d != "" {
			t.Errorf("%q (-want +got):\n%s", in, d)
		}
	}
	if got := Targets(nil); got != nil {
		t.Errorf("got %v of nothing", got)
	}
}

func BenchmarkTargets(b *testing.B) {
	in := []byte(strings.Repeat("some text of a program\x00 and a /path/in/it \x00\x01\x02", 1<<20))
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		Targets(in)
	}
}
