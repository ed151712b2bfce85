package wire

import (
	"bytes"
	"strings"
	"testing"
)

func stripped(t testing.TB, in string, step int) string {
	t.Helper()
	var out bytes.Buffer
	w := Strip(&out, nonce)
	for s := in; len(s) > 0; {
		n := min(step, len(s))
		if got, err := w.Write([]byte(s[:n])); got != n || err != nil {
			t.Fatalf("Write: %d, %v", got, err)
		}
		s = s[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestStrip(t *testing.T) {
	f := frames(t, 0, sample()...)
	frame := strings.TrimSuffix(f[0], "\n")
	for _, tt := range []struct{ name, in, want string }{
		{"no frames", "one\r\n\r\n\r\ntwo\r\nthree", "one\r\n\r\n\r\ntwo\r\nthree"},
		{"frames with their empty lines", "one\r\n\r\n" + frame + "\r\n\r\n" + frame + "\r\ntwo\r\n", "one\r\ntwo\r\n"},
		{"a frame right behind a line", "one\n" + f[0] + "two\n", "one\ntwo\n"},
		{"a frame behind a kernel message without end", "[    1.000000] half" + frame + "\r\ntwo\r\n", "[    1.000000] half\ntwo\r\n"},
		{"empty lines of others", "one\n\n\n\n" + f[0] + "\ntwo\n", "one\n\n\n\ntwo\n"},
		{"a frame that a message has cut", frame[:30] + "[    1.000000] text\r\n" + frame[30:] + "\r\n", frame[:30] + "[    1.000000] text\r\n" + frame[30:] + "\r\n"},
		{"a forged frame", "@bkc:0 00000000 {}\n", "@bkc:0 00000000 {}\n"},
		{"beginnings of the marker", "a@\nb@b\n@bk\n@bkc", "a@\nb@b\n@bk\n@bkc"},
		{"a line without end behind the marker", "@bkc:" + strings.Repeat("x", MaxLine+10) + "\nnext\n", "@bkc:" + strings.Repeat("x", MaxLine+10) + "\nnext\n"},
		{"a frame without its newline", frame, frame},
		{"an empty line at the end", "one\n\n", "one\n\n"},
	} {
		for _, step := range []int{1, 7, 1 << 30} {
			if len(tt.in) > MaxLine && step < 1<<30 {
				step *= 1000
			}
			if got := stripped(t, tt.in, step); got != tt.want {
				t.Errorf("%s, in steps of %d: got %.200q, want %.200q", tt.name, step, got, tt.want)
			}
		}
	}
}

func TestEscapedRecordsMeanTheSame(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b, nonce)
	w.Escape = func(body []byte) []byte { return bytes.ReplaceAll(body, []byte("é"), []byte(`\u00e9`)) }
	for _, r := range sample() {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	got, stats := collect(t, b.String(), 100)
	if strings.Contains(b.String(), "é") || len(got) != len(sample()) || got[1].Test.Output != sample()[1].Test.Output || stats.Bad > 0 {
		t.Errorf("got %+v, %+v out of %q", got, stats, b.String())
	}
}

func FuzzStrip(f *testing.F) {
	var b bytes.Buffer
	w := NewWriter(&b, nonce)
	for _, r := range sample() {
		if err := w.Write(r); err != nil {
			f.Fatal(err)
		}
	}
	f.Add("one\n\n"+b.String()+"two\r\n", 3)
	f.Add("@bkc@bkc:\r\r\n\n", 1)
	f.Fuzz(func(t *testing.T, in string, step int) {
		step = 1 + step&1023
		whole := stripped(t, in, len(in)+1)
		if got := stripped(t, in, step); got != whole {
			t.Fatalf("in steps of %d: %q, whole: %q", step, got, whole)
		}
		if !strings.Contains(in, marker) && whole != in {
			t.Fatalf("without a marker %q became %q", in, whole)
		}
		// What is left has no good frame on a line of its own any more, and
		// nothing that was not there is added but line ends.
		if len(whole) > len(in) {
			t.Fatalf("%q grew to %q", in, whole)
		}
	})
}
