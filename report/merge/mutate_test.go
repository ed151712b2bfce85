package merge

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/report"
)

// edits changes files as a program of four-byte steps says: which file, what,
// where, and with what. seal writes new end records afterwards.
func edits(files map[string][]byte, program []byte, seal bool) {
	names := slices.Sorted(maps.Keys(files))
	for ; len(program) >= 4; program = program[4:] {
		name := names[int(program[0])%len(names)]
		other := names[int(program[3])%len(names)]
		b := slices.Clone(files[name])
		lines := bytes.SplitAfter(b, []byte("\n"))
		at := 0
		if len(b) > 0 {
			at = int(program[2]) * len(b) / 256
			at = min(at+int(program[3])%64, len(b)-1)
		}
		line := int(program[2]) % len(lines)
		switch program[1] % 12 {
		case 0:
			if len(b) > 0 {
				b[at] ^= 1 << (program[3] % 8)
			}
		case 1:
			b = slices.Insert(b, at, program[3])
		case 2:
			b = slices.Delete(b, at, min(at+1+int(program[3])%8, len(b)))
		case 3:
			b = b[:at]
		case 4:
			b = bytes.Join(slices.Delete(lines, line, line+1), nil)
		case 5:
			b = bytes.Join(slices.Insert(lines, line, lines[int(program[3])%len(lines)]), nil)
		case 6:
			i, j := line, int(program[3])%len(lines)
			lines[i], lines[j] = lines[j], lines[i]
			b = bytes.Join(lines, nil)
		case 7:
			from := bytes.SplitAfter(files[other], []byte("\n"))
			lines[line] = from[int(program[2])%len(from)]
			b = bytes.Join(lines, nil)
		case 8:
			b = slices.Concat(b, files[other])
		case 9:
			files[other], b = b, files[other]
		case 10:
			files[fmt.Sprintf("more-%d/x.ndjson", program[3])] = b
		case 11:
			delete(files, other)
			if other == name {
				continue
			}
		}
		files[name] = b
	}
	if seal {
		for name, b := range files {
			files[name] = reseal(b)
		}
	}
}

// reseal replaces a file's last line by an end record that agrees with the rest.
func reseal(b []byte) []byte {
	lines := bytes.SplitAfter(bytes.TrimSuffix(b, []byte("\n")), []byte("\n"))
	body := bytes.Join(lines[:len(lines)-1], nil)
	end := report.End{Verdicts: map[string]int{}, Digest: fmt.Sprintf("sha256:%x", sha256.Sum256(body))}
	for _, l := range lines[1:max(1, len(lines)-1)] {
		var rec report.Record
		if json.Unmarshal(l, &rec) == nil && rec.Kernel != nil {
			end.Kernels++
			end.Verdicts[rec.Kernel.Verdict.String()]++
		}
	}
	j, err := json.Marshal(report.Record{Type: "end", End: &end})
	if err != nil {
		return b
	}
	return slices.Concat(body, j, []byte("\n"))
}

// testMutation holds the invariants: no change of a set that failed makes it
// pass, whoever seals it, and a changed set that passes says exactly what the
// unchanged one says.
func testMutation(t *testing.T, program []byte) {
	merge := func(s *testSet, seal, plan bool) *report.Merged {
		files := map[string][]byte{}
		for name, f := range s.fs(t) {
			if !inEvidence(name) {
				files[name] = f.Data
			}
		}
		edits(files, program, seal)
		m := fstest.MapFS{}
		for name, b := range files {
			m[name] = &fstest.MapFile{Data: b}
		}
		o := testOptions()
		if plan {
			o.Plan = s.plan
		}
		merged, _ := Merge(collectFS(m), o)
		if err := merged.Check(); err != nil {
			t.Errorf("the result cannot be read back: %v", err)
		}
		return merged
	}
	for _, plan := range []bool{false, true} {
		green := newSet(3, 7)
		o := testOptions()
		if plan {
			o.Plan = green.plan
		}
		want := green.merge(t, o)
		if got := merge(green, false, plan); got.Verdict == report.Pass {
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("plan %v: a changed set passes and says other things:\n%s", plan, d)
			}
		}
		for name, breakIt := range map[string]func(*testSet){
			"failed":  func(s *testSet) { s.file(2).fail(0) },
			"crashed": func(s *testSet) { s.file(3).kernel(1).Verdict = report.Crash },
			"infra":   func(s *testSet) { s.file(1).kernel(0).Verdict = report.Infra },
		} {
			for _, seal := range []bool{false, true} {
				red := newSet(3, 7)
				breakIt(red)
				if got := merge(red, seal, plan); got.Verdict == report.Pass {
					t.Errorf("plan %v, sealed %v: a set with a kernel that %s passes", plan, seal, name)
				}
			}
		}
		// A run again that was cut short, after an attempt that passed.
		cut := newSet(3, 7)
		f := cut.add(2, 2)
		f.sealed, f.lines = false, f.lines[:1]
		if len(program) == 4 && program[1]%12 < 4 { // a whole file that is gone was never there
			if got := merge(cut, false, plan); got.Verdict == report.Pass {
				t.Errorf("plan %v: a set whose last attempt was cut short passes", plan)
			}
		}
	}
}

// testProgramMutation holds the same of calls with different programs, as far as
// it can be held: nobody knows of a call whose whole file is gone, and one who
// seals a file can put another program's result of the same kernel into it.
func testProgramMutation(t *testing.T, program []byte) {
	for i := 1; i < len(program); i += 4 {
		if program[i]%12 == 11 { // a file is gone
			return
		}
	}
	merge := func(s *testSet) *report.Merged {
		files := map[string][]byte{}
		for name, f := range s.fs(t) {
			if !inEvidence(name) {
				files[name] = f.Data
			}
		}
		edits(files, program, false)
		m := fstest.MapFS{}
		for name, b := range files {
			m[name] = &fstest.MapFile{Data: b}
		}
		merged, _ := Merge(collectFS(m), testOptions())
		if err := merged.Check(); err != nil {
			t.Errorf("the result cannot be read back: %v", err)
		}
		return merged
	}
	green := newProgramSet(3, "a", "b", "c/d")
	want := green.merge(t, testOptions())
	if got := merge(green); got.Verdict == report.Pass {
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("a changed set of programs passes and says other things:\n%s", d)
		}
	}
	red := newProgramSet(3, "a", "b", "c/d")
	red.file(2).fail(0)
	if got := merge(red); got.Verdict == report.Pass {
		t.Error("a set with a program that failed passes")
	}
}

func TestMutations(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 { // FuzzMutatedSet goes on from there
		program := make([]byte, 4*(1+r.IntN(3)))
		for i := range program {
			program[i] = byte(r.Uint32())
		}
		testMutation(t, program)
		testProgramMutation(t, program)
		if t.Failed() {
			t.Fatalf("program %q", program)
		}
	}
}

// Every single byte of a shard file counts.
func TestEveryByteCounts(t *testing.T) {
	s := newSet(2, 3)
	whole := s.file(1).bytes(t)
	for i := range whole {
		for _, change := range []func([]byte) []byte{
			func(b []byte) []byte { b[i] ^= 1; return b },
			func(b []byte) []byte { return slices.Delete(b, i, i+1) },
			func(b []byte) []byte { return b[:i] },
		} {
			s.file(1).raw = func([]byte) []byte { return change(slices.Clone(whole)) }
			if m := s.merge(t, testOptions()); m.Verdict == report.Pass {
				t.Errorf("byte %d, %q: it passes", i, whole[max(0, i-20):min(i+20, len(whole))])
			}
		}
	}
}

func FuzzMutatedSet(f *testing.F) {
	for i := range 12 {
		f.Add([]byte{1, byte(i), 100, 7})
		f.Add([]byte{1, byte(i), 100, 7, 0, byte(i + 1), 3, 2})
	}
	f.Fuzz(func(t *testing.T, program []byte) {
		if len(program) <= 64 {
			testMutation(t, program)
			testProgramMutation(t, program)
		}
	})
}

func FuzzParseNeeds(f *testing.F) {
	f.Add(`{"test":{"result":"success","outputs":{}}}`)
	f.Add(`["failure"]`)
	f.Fuzz(func(t *testing.T, s string) {
		needs, err := ParseNeeds(s)
		if (err == nil) != (len(needs) > 0) {
			t.Errorf("%v, %v", needs, err)
		}
	})
}
