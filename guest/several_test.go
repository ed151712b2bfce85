package guest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

func TestProgramsPayload(t *testing.T) {
	a, b := []byte("one"), []byte("another")
	p, err := ProgramsPayload([]TestProgram{
		{Name: "a", Path: "x/run.test", Data: a, Args: []string{"-v"}},
		{Name: "a2", Path: "x/run.test", Data: a, Dir: "/d", Env: []string{"K=V"}, Timeout: time.Second},
		{Name: "b/c", Path: "y/run.test", Data: b, Files: []File{{Path: "/f", Data: a}}},
		{Name: "sh", Path: "/bin/sh", Data: b, Installed: true, Args: []string{"-c", "x"}, Files: []File{{Path: "/f", Data: a}}},
	}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, j := range p.Job.Programs {
		got = append(got, j.Name+": "+strings.Join(j.Args[1:], " "))
	}
	want := []string{
		"a: exec --name a --dir / -- /payload/run.test -v", "a2: exec --name a2 --dir /d -- /payload/run.test",
		"b/c: exec --name b/c --dir / -- /payload/3/run.test", "sh: exec --name sh --dir / -- /bin/sh -c x",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	var files []string
	for _, f := range p.Files {
		files = append(files, f.Path)
	}
	if !slices.Equal(files, []string{"/payload/run.test", "/payload/3/run.test", "/f"}) || p.Job.Timeout != time.Minute || !p.Job.Reports || p.Job.Programs[1].Timeout != time.Second {
		t.Errorf("files %q, %+v", files, p.Job)
	}

	// The digest is of the names of variables, not of their values, nor of limits.
	digest := p.Digest()
	p.Job.Programs[1].Env, p.Job.Programs[1].Timeout = []string{"K=W"}, 0
	if p.Digest() != digest || slices.Contains(p.Job.Programs[1].Env, "K") {
		t.Error("a value is in the digest")
	}
	p.Job.Programs[1].Env = []string{"L=V"}
	if p.Digest() == digest {
		t.Error("a variable is not in the digest")
	}

	for want, bad := range map[string][]TestProgram{
		`two programs are named "a": give each its own`: {{Name: "a", Path: "/x"}, {Name: "a", Path: "/y"}},
		`program's name "../a"`:                         {{Name: "../a", Path: "/x"}},
		`another program has a different /f`:            {{Name: "a", Path: "/x", Files: []File{{Path: "/f"}}}, {Name: "b", Path: "/x", Files: []File{{Path: "/f", Data: a}}}},
		`0 programs: want 1 to 1000`:                    nil,
		`1001 programs: want 1 to 1000`:                 make([]TestProgram, wire.MaxPrograms+1),
	} {
		if _, err := ProgramsPayload(bad, 0); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
