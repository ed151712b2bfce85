package wire

import (
	"cmp"
	"encoding/json"
	"io"
	"os"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// ReportFDEnv names the environment variable in which init tells a reporting
// payload the file descriptor to write its records to.
const ReportFDEnv = "BPF_KERNEL_CHECK_REPORT_FD"

// Reporter writes a payload's records to init, one JSON object a line. Its
// methods may be called from several goroutines.
type Reporter struct {
	mu    sync.Mutex
	w     io.Writer
	tests int
	cut   string
	files int64 // bytes of files sent, compressed
	err   error
}

// NewReporter reports to w.
func NewReporter(w io.Writer) *Reporter { return &Reporter{w: w} }

// ReporterFromEnv reports to the descriptor init handed over. Outside a guest,
// where there is none, the records are dropped.
func ReporterFromEnv() *Reporter {
	fd, err := strconv.Atoi(os.Getenv(ReportFDEnv))
	if err != nil || fd < 3 {
		return NewReporter(io.Discard)
	}
	// Children must neither hold the channel open nor write to it.
	unix.CloseOnExec(fd)
	return NewReporter(os.NewFile(uintptr(fd), "report"))
}

// Report reports one test's outcome. Name and output are cut to their limits.
func (r *Reporter) Report(t Test) {
	t.Name, t.Output = Truncate(t.Name, MaxName), Truncate(t.Output, MaxOutput)
	r.send(Record{Type: TypeTest, Test: &t})
}

// Run tells that a test runs from now on, or that it is paused.
func (r *Reporter) Run(name string, paused bool) {
	r.send(Record{Type: TypeRun, Run: &Run{Name: Truncate(name, MaxName), Paused: paused}})
}

// BPF reports a BPF program and what it cost.
func (r *Reporter) BPF(p BPFProgram) { r.send(Record{Type: TypeBPF, BPF: &p}) }

// Phase reports how long a phase took.
func (r *Reporter) Phase(name string, d time.Duration) {
	r.send(Record{Type: TypePhase, Phase: &Phase{Name: name, Duration: d}})
}

// Incomplete says that tests can be missing from the report, and why, in one
// line. The first reason counts.
func (r *Reporter) Incomplete(why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut = cmp.Or(r.cut, Truncate(why, MaxName))
}

// Done ends the report. It returns the first error of all writes.
func (r *Reporter) Done() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.write(Record{Type: TypeDone, Done: &Done{Tests: r.tests, Incomplete: r.cut}})
	return r.err
}

func (r *Reporter) send(rec Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if rec.Type == TypeTest {
		r.tests++
	}
	r.write(rec)
}

func (r *Reporter) write(rec Record) {
	if r.err != nil {
		return
	}
	b, err := json.Marshal(rec)
	if err == nil {
		_, err = r.w.Write(append(b, '\n'))
	}
	r.err = err
}

const cut = "\n[... cut ...]\n"

// Truncate shortens s to at most max bytes: it keeps the beginning and the
// end, where a failure's first and last words stand, and never cuts a rune.
func Truncate(s string, max int) string {
	if len(s) <= max {
		return s
	}
	if max <= len(cut) {
		return trimRune(s[:max])
	}
	keep := max - len(cut)
	head := trimRune(s[:keep/2])
	tail := s[len(s)-(keep-keep/2):]
	for len(tail) > 0 && !utf8.RuneStart(tail[0]) {
		tail = tail[1:]
	}
	return head + cut + tail
}

func trimRune(s string) string {
	for i := 0; i < utf8.UTFMax && len(s) > 0; i++ {
		if r, n := utf8.DecodeLastRuneInString(s); r != utf8.RuneError || n > 1 {
			return s
		}
		s = s[:len(s)-1]
	}
	return s
}
