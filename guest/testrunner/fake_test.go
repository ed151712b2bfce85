package testrunner

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// plan is what the fake tracer does. It finds its files beside the name it is
// called by. The fake generators are testdata/fake/generators.
type plan struct {
	Help        string // what --help prints
	HelpHangs   bool
	Stderr      string
	NoEvents    bool   // do not print the file events
	First       int    // print only so many lines of it; 0: all
	Flood       int    // bytes of foreign events after the init line
	FloodLine   int    // bytes of one line there
	DiesWith    string // go on to its end only when this generator runs
	CloseStdout bool
	Exit        int  // exit with this status; 0: stay
	Signal      bool // die by SIGSEGV
}

// startedFIFO is where the generator of DiesWith tells the tracer that it runs.
const startedFIFO = "started"

const foreign = `{"event_type":"FILE_MODIFY","pids":{"tid":98,"tgid":98,"ppid":1,"pgid":98,"sid":98,"start_time_ns":1810614304},"comm":"EventsTrace","change_type":"CONTENT","file_info":{"type":"FILE","inode":2,"mode":100644,"size":42,"uid":0,"gid":0},"path":"/tmp/out"}` + "\n"

func fakeTracer(args []string) int {
	dir := filepath.Dir(args[0])
	var p plan
	b, err := os.ReadFile(filepath.Join(dir, "plan"))
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 99
	}
	if len(args) == 2 && args[1] == "--help" {
		if p.HelpHangs {
			time.Sleep(time.Minute)
		}
		fmt.Print(p.Help)
		return 0
	}
	if err := os.WriteFile(filepath.Join(dir, "args"), []byte(strings.Join(args[1:], " ")), 0o644); err != nil {
		return 99
	}
	fmt.Fprint(os.Stderr, p.Stderr)
	var lines []string
	if !p.NoEvents {
		b, err := os.ReadFile(filepath.Join(dir, "events"))
		if err != nil {
			return 99
		}
		lines = strings.SplitAfter(string(b), "\n")
		if p.First > 0 {
			lines = lines[:p.First]
		}
		_, _ = os.Stdout.WriteString(lines[0])
		lines = lines[1:]
	}
	if p.Flood > 0 {
		repeat(strings.Repeat(foreign, 256), p.Flood)
	}
	if p.FloodLine > 0 {
		repeat(strings.Repeat("x", 1<<20), p.FloodLine)
		_, _ = os.Stdout.WriteString("\n")
	}
	_, _ = os.Stdout.WriteString(strings.Join(lines, ""))
	var started *os.File
	if p.DiesWith != "" {
		if started, err = os.Open(filepath.Join(dir, startedFIFO)); err != nil { // waits
			return 99
		}
	}
	if p.CloseStdout {
		os.Stdout.Close()
		started.Close()
	}
	if p.Signal {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	if p.Exit == 0 {
		time.Sleep(time.Minute) // until it is killed
	}
	return p.Exit
}

func repeat(text string, bytes int) {
	for n := 0; n < bytes; n += len(text) {
		_, _ = os.Stdout.WriteString(text)
	}
}
