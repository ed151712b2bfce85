package wire

import (
	"crypto/sha256"
	"fmt"
	"path"
	"regexp"
	"strings"
	"time"
)

// Program is one of several programs that a job runs one after the other.
type Program struct {
	Name  string   `json:"name"`          // unique, see CheckProgramName; its tests are reported as Name + "/" + theirs
	Args  []string `json:"args"`          // as Job.Args; the working directory is among testrunner's
	Dir   string   `json:"dir,omitempty"` // the same working directory; "": /
	Env   []string `json:"env,omitempty"` // K=V, on top of Job.Env
	Cover string   `json:"cover,omitempty"`

	Timeout     time.Duration `json:"timeout_ns"`                // 0: Job.Timeout
	TestTimeout time.Duration `json:"test_timeout_ns,omitempty"` // 0: Job.TestTimeout
}

// MaxPrograms is the most programs of a job.
const MaxPrograms = 1000

var programName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.+~@-]*(/[A-Za-z0-9_~][A-Za-z0-9_.+~@-]*)*$`)

// maxProgramName is the longest name of a program, in bytes: a test's name has to
// fit behind it.
const maxProgramName = 200

// CheckProgramName says why a name is not one of a program. A good one is a safe
// relative path too.
func CheckProgramName(name string) error {
	if len(name) > maxProgramName || !programName.MatchString(name) {
		return fmt.Errorf("%.210q: want letters, digits and ._+~@-, in parts that begin with a letter, a digit or _ and are joined by slashes, %d bytes at most", name, maxProgramName)
	}
	return nil
}

// ProgramTest is the name under which a program's test is reported. A program
// that prints no tests is one test of its own name.
func ProgramTest(program, test string) string {
	if program == "" || test == program {
		return test
	}
	return Truncate(program+"/"+test, MaxName)
}

// ProgramFile is the name of a program's file among those of its VM: in a
// directory of its own, below FileRoot or CollectRoot. What gets too long for
// CheckFileName is cut, and its digest is in it.
func ProgramFile(program, name string) string {
	root, rest, _ := strings.Cut(name, "/")
	dir := root + "/" + distinct(program)
	if full := dir + "/" + rest; CheckFileName(full) == nil {
		return full
	}
	return dir + "/" + distinct(path.Base(rest)+"/"+rest)
}

// distinct makes a part of a file's name of a text: another one of each.
func distinct(s string) string {
	const most = 50
	safe := SafeName(s)
	if safe == s && len(s) <= most && !strings.HasPrefix(s, "p-") {
		return s
	}
	return fmt.Sprintf("p-%s-%.4x", safe[:min(len(safe), most)], sha256.Sum256([]byte(s)))
}

// ProgramMark tells that one of the job's programs begins or, with End, that it
// has ended and that init has put back what it left behind. Init alone sends it:
// what comes between the two marks is of that program.
type ProgramMark struct {
	Name  string `json:"name"`
	Index int    `json:"index"` // in Job.Programs

	End  *End     `json:"end,omitempty"`  // of this program: its own counts, and the taint that came while it ran
	Left []string `json:"left,omitempty"` // what it left behind, one line each; at most MaxLeft
}

// MaxLeft is how many things an end mark names that a program left behind.
const MaxLeft = 50

// CrashTaint are the bits of a kernel's taint that say that it is not whole any
// more (Documentation/admin-guide/tainted-kernels.rst): a machine check, a bad
// page, an oops or BUG, a warning, a soft lockup.
const CrashTaint = 1<<4 | 1<<5 | 1<<7 | 1<<9 | 1<<14
