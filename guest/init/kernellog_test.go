package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/elastic/bpf-kernel-check/guest/console"
	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// Only the kernel's own records count, and each is as the console has it.
func TestFollowsTheKernelsRecords(t *testing.T) {
	var l logFollower
	for _, rec := range []string{
		"6,1,1234567,-;random: crng init done\n",
		"12,2,1300000,-;BUG: a program's words\n", // LOG_USER
		"4,3,71500001,-,caller=T12;WARNING: CPU: 0 PID: 1 at a.c:1 foo+0x1/0x2\n SUBSYSTEM=x\n DEVICE=y\n",
		"nonsense", "x,y,z,-;BUG: no\n", "4;BUG: no\n",
	} {
		l.take([]byte(rec))
	}
	want := "[    1.234567] random: crng init done\n[   71.500001] WARNING: CPU: 0 PID: 1 at a.c:1 foo+0x1/0x2\n"
	if got := string(l.head) + string(l.tail); got != want || !l.warned || !l.reported {
		t.Errorf("got %q, warned %v, reported %v, want %q", got, l.warned, l.reported, want)
	}
	var s console.Scanner
	_, _ = s.Write(l.head)
	if f := s.Findings(); len(f) != 1 || f[0].Title != "WARNING in foo" {
		t.Errorf("the host finds %+v", f)
	}
}

// After a report of an error no further program runs in this VM.
func TestReported(t *testing.T) {
	for rec, want := range map[string]bool{
		"4,1,1,-;WARNING: possible circular locking dependency detected": true,
		"3,1,1,-;INFO: trying to register non-static key.":               true,
		"4,1,1,-;[ BUG: Invalid wait context ]":                          true,
		"3,1,1,-;UBSAN: shift-out-of-bounds in lib/x.c:1:2":              true,
		"1,1,1,-;BUG: KASAN: use-after-free in foo+0x1/0x2":              true,
		"4,1,1,-;a driver's WARNING: of its own":                         false,
		"6,1,1,-;INFO: all is well":                                      false,
		"12,1,1,-;BUG: a program's words":                                false,
	} {
		var l logFollower
		if l.take([]byte(rec + "\n")); l.reported != want {
			t.Errorf("%q: reported %v, want %v", rec, l.reported, want)
		}
	}
}

func TestLogHasItsLimit(t *testing.T) {
	var l logFollower
	n := 0
	for ; n < 3000; n++ {
		l.take(fmt.Appendf(nil, "4,%d,%d,-;line %d %s\n", n, n, n, strings.Repeat("x", n%100)))
	}
	text := string(l.head) + string(l.tail)
	if len(text) > wire.MaxLog || l.lost == 0 || strings.Count(text, "\n")+l.lost != n {
		t.Errorf("%d bytes, %d lines and %d lost of %d", len(text), strings.Count(text, "\n"), l.lost, n)
	}
	if !strings.HasPrefix(text, "[    0.000000] line 0 \n") || !strings.Contains(text, fmt.Sprintf("line %d x", n-1)) {
		t.Errorf("neither the first nor the last line: %.60q ... %q", text, text[len(text)-60:])
	}
}

func FuzzTakeRecord(f *testing.F) {
	f.Add([]byte("4,3,71500001,-,caller=T12;WARNING: x\n SUBSYSTEM=x\n"))
	f.Add([]byte("12,2,18446744073709551615,-;\x00"))
	f.Fuzz(func(t *testing.T, rec []byte) {
		var l logFollower
		l.take(rec)
		if n := len(l.head) + len(l.tail); n > len(rec)+64 || n > 0 && (l.head[0] != '[' || strings.Count(string(l.head), "\n") != 1) {
			t.Fatalf("%q became %q", rec, l.head)
		}
	})
}
