package guest

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// TestProgram is one of several test programs of a payload, which run one after the
// other in one VM.
type TestProgram struct {
	Name      string   // unique, see wire.CheckProgramName
	Path      string   // on the host or, where it is Installed, in the guest's root file system
	Data      []byte   // what Path has
	Installed bool     // the guest's root file system has it
	Args      []string // without the program
	Dir       string   // its working directory in the guest; "" is /
	Env       []string // K=V, on top of the payload's
	Cover     bool     // as Payload.Cover's asked
	JUnit     []string // as Payload.JUnit's patterns
	Framework string   // the same
	Files     []File   // further files that it needs

	Timeout, TestTimeout time.Duration // 0: the payload's
}

// ProgramsPayload is a payload of several programs. timeout is of each that has
// none of its own. A program or file of the host that several of them have is one
// file of the guest. An error is one line that names the program and ends with
// what to do.
func ProgramsPayload(programs []TestProgram, timeout time.Duration) (Payload, error) {
	p := Payload{Job: wire.Job{Reports: true, Timeout: timeout}, OnDemand: OnDemandDefault, selectors: map[string]selector{}}
	if n := len(programs); n == 0 || n > wire.MaxPrograms {
		return p, fmt.Errorf("%d programs: want 1 to %d in one run", n, wire.MaxPrograms)
	}
	files := map[string]File{}
	named := map[string]bool{}
	for i, one := range programs {
		if err := wire.CheckProgramName(one.Name); err != nil {
			return p, fmt.Errorf("program's name %w", err)
		}
		if named[one.Name] {
			return p, fmt.Errorf("two programs are named %q: give each its own, as in name=%s-2", one.Name, one.Name)
		}
		named[one.Name] = true
		single, file := one.payload(files, i)
		if file.Path != "" {
			one.Files = append([]File{file}, one.Files...)
		}
		for _, f := range one.Files {
			switch old, ok := files[f.Path]; {
			case !ok:
				files[f.Path] = f
				p.Files = append(p.Files, f)
			case old.Mode != f.Mode || !bytes.Equal(old.Data, f.Data):
				return p, fmt.Errorf("program %q: another program has a different %s: give one of the files another place", one.Name, f.Path)
			}
		}
		if err := single.JUnit(one.Framework, one.JUnit, path.Clean("/"+one.Dir)); err != nil {
			return p, fmt.Errorf("program %q: %w", one.Name, err)
		}
		if err := single.AddEnv(one.Env); err != nil {
			return p, fmt.Errorf("program %q: %w", one.Name, err)
		}
		if err := single.Cover(one.Path, one.Dir, one.Cover); err != nil {
			return p, err
		}
		p.Job.Programs = append(p.Job.Programs, wire.Program{
			Name: one.Name, Args: single.Job.Args, Dir: one.Dir, Env: single.Job.Env, Cover: single.Job.Cover,
			Timeout: one.Timeout, TestTimeout: one.TestTimeout,
		})
		p.selectors[one.Name] = single.selectors[""]
		p.Targets = append(p.Targets, single.Targets...)
	}
	slices.Sort(p.Targets)
	p.Targets = slices.Compact(p.Targets)
	p.Targets = p.Targets[:min(len(p.Targets), maxTargets)]
	return p, nil
}

// payload is that of the program alone, under its name, and the file that it is in
// the guest, which has the files that are given already. Installed programs have
// none.
func (one *TestProgram) payload(files map[string]File, index int) (Payload, File) {
	dir := path.Clean("/" + one.Dir)
	if one.Installed {
		return namedPayload(one.Name, one.Path, one.Data, one.Args, dir, 0), File{}
	}
	single := ProgramPayload(one.Path, one.Data, nil, dir, 0)
	file := single.Files[0]
	// Of several programs of one name, all but the first go into a directory of
	// their own.
	if old, ok := files[file.Path]; ok && !bytes.Equal(old.Data, file.Data) {
		file.Path = fmt.Sprintf("/payload/%d/%s", index+1, path.Base(file.Path))
	}
	return namedPayload(one.Name, file.Path, one.Data, one.Args, dir, 0), file
}
