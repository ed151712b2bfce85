package wire

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

const nonce = "0123456789abcdef"

func sample() []Record {
	return []Record{
		{Type: TypeHello, At: 5, Hello: &Hello{Release: "6.1.0-56-amd64"}},
		{Type: TypeTest, Test: &Test{Name: "FileCreate", Verdict: TestPass, Output: "a\nb\x00\x1b[31m" + strings.Repeat("é", 10)}},
		{Type: TypeExit, Exit: &Exit{Code: 0, Duration: 7}},
		{Type: TypeEnd, End: &End{Nonce: nonce, Tests: 1, Passed: 1, Complete: true}},
	}
}

func frames(t *testing.T, repeat int, recs ...Record) []string {
	t.Helper()
	var b bytes.Buffer
	w := NewWriter(&b, nonce)
	w.Repeat = repeat
	for _, r := range recs {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	return strings.SplitAfter(strings.TrimSuffix(b.String(), "\n"), "\n")
}

func collect(t *testing.T, in string, step int) ([]Record, Stats) {
	t.Helper()
	c := NewCollector(nonce, nil)
	w := c.Stream()
	for len(in) > 0 {
		n := min(step, len(in))
		if _, err := w.Write([]byte(in[:n])); err != nil {
			t.Fatal(err)
		}
		in = in[n:]
	}
	recs, stats, err := c.Records()
	if err != nil {
		t.Fatal(err)
	}
	return recs, stats
}

func TestCollectorReturnsWhatWriterSent(t *testing.T) {
	in := strings.Join(frames(t, 0, sample()...), "") + "\n"
	for name, tt := range map[string]struct {
		in   string
		step int
	}{
		"whole":    {in, len(in)},
		"by byte":  {in, 1},
		"with CRs": {strings.ReplaceAll(in, "\n", "\r\n"), 7},
	} {
		t.Run(name, func(t *testing.T) {
			got, stats := collect(t, tt.in, tt.step)
			if d := cmp.Diff(sample(), got); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(Stats{Frames: 4}, stats); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestCollectorJoinsStreams(t *testing.T) {
	f := frames(t, 0, sample()...)
	var order []string
	c := NewCollector(nonce, func(r Record) { order = append(order, r.Type) })
	a, b := c.Stream(), c.Stream()
	for i, w := range []io.Writer{b, a, b, a} {
		if _, err := io.WriteString(w, strings.TrimSuffix(f[i], "\n")+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	got, stats, err := c.Records()
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(sample(), got); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(Stats{Frames: 4}, stats); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"hello", "test", "exit", "end"}, order); d != "" {
		t.Error(d)
	}
}

func TestCollectorRefusesWhatInitDidNotSend(t *testing.T) {
	f := frames(t, 0, sample()...)
	var other bytes.Buffer
	if err := NewWriter(&other, "another nonce").Write(sample()[3]); err != nil {
		t.Fatal(err)
	}
	whole := strings.Join(f, "") + "\n"
	tests := []struct {
		name, in string
		records  int
		stats    Stats
	}{
		{"text around", "noise\n\x00\xff\n" + whole + "more", 4, Stats{Frames: 4}},
		{"another nonce", other.String(), 0, Stats{Bad: 1}},
		{"one frame missing", f[0] + f[2] + f[3] + "\n", 3, Stats{Frames: 3, Lost: 1}},
		{"end alone", f[3] + "\n", 1, Stats{Frames: 1, Lost: 3}},
		{"one byte changed", strings.Replace(whole, "FileCreate", "FileDelete", 1), 3, Stats{Frames: 3, Bad: 1, Lost: 1}},
		{"replayed", whole + whole, 4, Stats{Frames: 4}},
		{"out of order", f[1] + f[0] + "\n", 2, Stats{Frames: 2}},
		{"another frame with the same number", f[0] + frames(t, 0, sample()[3])[0] + "\n", 1, Stats{Frames: 1, Forged: 1}},
		{"no newline at the end", strings.TrimSuffix(whole, "\n"), 3, Stats{Frames: 3}},
		{"after an endless line", strings.Repeat("x", 3*MaxLine) + "\n" + whole, 4, Stats{Frames: 4}},
		{"a frame inside a frame", frames(t, 0, Record{Type: TypeTest, Test: &Test{Output: f[3]}})[0] + "\n", 1, Stats{Frames: 1}},
		{"cut short, then whole, on one line", f[0][:20] + f[0], 1, Stats{Frames: 1}},
		{"broken headers", "@bkc:\n@bkc:x 00000000 {}\n@bkc:0 zz {}\n@bkc:0 00000000\n", 0, Stats{Bad: 4}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, stats := collect(t, tt.in, 1000)
			if len(got) != tt.records {
				t.Errorf("got %d records, want %d", len(got), tt.records)
			}
			if d := cmp.Diff(tt.stats, stats); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestRepeatedFramesSurviveAKernelMessage(t *testing.T) {
	f := frames(t, 1, sample()...)
	f[2] = f[2][:15] + "[    1.234567] some driver: text\n" + f[2][15:] // first copy of record 1
	got, stats := collect(t, strings.Join(f, "")+"\n", 100)
	if d := cmp.Diff(sample(), got); d != "" {
		t.Error(d)
	}
	if stats.Lost != 0 || stats.Bad != 1 {
		t.Errorf("got %+v, want nothing lost and one bad line", stats)
	}
}

func TestWriterRefusesTooLarge(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b, nonce)
	if err := w.Write(Record{Type: TypeTest, Test: &Test{Output: strings.Repeat("x", MaxLine)}}); err == nil {
		t.Fatal("a record over MaxLine was sent")
	}
	if err := w.Write(sample()[0]); err != nil {
		t.Fatal(err)
	}
	if got, stats := collect(t, b.String(), 100); len(got) != 1 || stats.Lost != 0 {
		t.Errorf("got %d records, %+v: the refused record used up a number", len(got), stats)
	}
}

// The largest test record a Reporter makes must fit a frame, whatever the
// output's bytes cost as JSON.
func TestLargestTestFitsAFrame(t *testing.T) {
	for _, out := range []string{strings.Repeat("\x00", 2*MaxOutput), strings.Repeat("\xff", 2*MaxOutput), strings.Repeat("<", 2*MaxOutput)} {
		var rep, b bytes.Buffer
		NewReporter(&rep).Report(Test{strings.Repeat("\x01", 2*MaxName), TestFail, 1, out, 0, ""})
		if rep.Len() > MaxLine {
			t.Errorf("%q...: report of %d bytes", out[:1], rep.Len())
		}
		rec := Record{Type: TypeTest, Test: &Test{Name: strings.Repeat("\x01", MaxName), Verdict: TestFail, Output: Truncate(out, MaxOutput)}}
		if err := NewWriter(&b, nonce).Write(rec); err != nil {
			t.Errorf("%q...: %v", out[:1], err)
		}
	}
}

func TestParseJobRefusesUnknownFields(t *testing.T) {
	if _, err := ParseJob([]byte(`{"args":["/x"],"shell":true}`)); err == nil || !strings.Contains(err.Error(), "shell") {
		t.Errorf("got %v, want an error that names the field", err)
	}
}

func FuzzCollector(f *testing.F) {
	var b bytes.Buffer
	w := NewWriter(&b, nonce)
	for _, r := range sample() {
		if err := w.Write(r); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(b.Bytes())
	f.Add(bytes.ReplaceAll(b.Bytes(), []byte("\n"), nil))
	f.Add([]byte("@bkc:18446744073709551615 00000000 {}\n@bkc:0 0 0\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		n := 0
		c := NewCollector(nonce, func(Record) { n++ })
		w := c.Stream()
		half := len(in) / 2
		for _, p := range [][]byte{in[:half], in[half:]} {
			if got, err := w.Write(p); got != len(p) || err != nil {
				t.Fatalf("Write: %d, %v", got, err)
			}
		}
		recs, s, _ := c.Records()
		if len(recs) != n || s.Frames != n || s.Bad < 0 || s.Lost < 0 || s.Forged < 0 {
			t.Fatalf("%d records, %d seen, stats %+v", len(recs), n, s)
		}
	})
}

func FuzzTruncate(f *testing.F) {
	f.Add("äöü", 3)
	f.Add(strings.Repeat("x", 100), 50)
	f.Fuzz(func(t *testing.T, s string, max int) {
		max &= 1<<16 - 1 // callers pass the constants above
		got := Truncate(s, max)
		if len(got) > max {
			t.Fatalf("%d bytes, want at most %d", len(got), max)
		}
		if utf8.ValidString(s) && !utf8.ValidString(got) {
			t.Fatalf("%q is cut inside a rune", got)
		}
	})
}
