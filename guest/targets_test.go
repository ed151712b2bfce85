package guest

import (
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
	if got := Targets(nil); got != nil {
		t.Errorf("got %v of nothing", got)
	}
}
