package kernel

import (
	"bufio"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const sampleChangelog = `linux-signed-amd64 (6.1.180+1) bookworm-security; urgency=high

  * Sign kernel from linux 6.1.180-1

  * New upstream stable update:
    https://www.kernel.org/pub/linux/kernel/v6.x/ChangeLog-6.1.178
    - nvmet-tcp: fix race between ICReq handling and queue teardown
      (CVE-2026-46135)
    - [arm64] bpf, arm64: Reject out-of-range B.cond targets

  [ Somebody Else ]
  * [x86] Drop something

 -- Somebody <somebody@example.org>  Mon, 03 Aug 2026 18:40:00 +0200

linux (6.1.177-1) bookworm-security; urgency=high

  * bpf: Older than that

 -- Somebody <somebody@example.org>  Mon, 03 Aug 2026 18:40:00 +0200
`

func TestReadChangelog(t *testing.T) {
	for _, tt := range []struct {
		after, upTo string
		want        Changes
	}{
		{"6.1.177-1", "6.1.180-1", Changes{[]string{"6.1.180+1"}, []string{
			"Sign kernel from linux 6.1.180-1",
			"New upstream stable update: https://www.kernel.org/pub/linux/kernel/v6.x/ChangeLog-6.1.178",
			"nvmet-tcp: fix race between ICReq handling and queue teardown (CVE-2026-46135)",
			"[arm64] bpf, arm64: Reject out-of-range B.cond targets",
			"[x86] Drop something",
		}}},
		{"6.1.176-1", "6.1.177-1", Changes{[]string{"6.1.177-1"}, []string{"bpf: Older than that"}}},
		{"6.1.180-1", "6.1.182-1", Changes{}},
	} {
		got, err := readChangelog(strings.NewReader(sampleChangelog), tt.after, tt.upTo)
		if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
			t.Errorf("after %s up to %s: %v\n%s", tt.after, tt.upTo, err, diff)
		}
	}
}

func FuzzReadChangelog(f *testing.F) {
	f.Add(sampleChangelog, "6.1.177-1", "6.1.180-1")
	f.Add("linux (1) x\n  * "+strings.Repeat("long ", 300)+"\n    and more\n", "", "2")
	f.Fuzz(func(t *testing.T, text, after, upTo string) {
		c, err := readChangelog(strings.NewReader(text), after, upTo)
		if err != nil && !errors.Is(err, bufio.ErrTooLong) {
			t.Fatal(err)
		}
		if len(c.Lines) > 0 && len(c.Versions) == 0 {
			t.Fatalf("changes %q of no version", c.Lines)
		}
		for _, l := range c.Lines {
			if len(l) > maxChange || strings.Contains(l, "\n") {
				t.Fatalf("a change %q", l)
			}
		}
	})
}
