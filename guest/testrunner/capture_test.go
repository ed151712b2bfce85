package testrunner

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/elastic/bpf-kernel-check/guest/lines"
	"github.com/elastic/bpf-kernel-check/guest/testrunner/check"
	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// capture is a captured run: the files of its events, of what the generators
// printed, and of the machine's facts.
type capture struct{ events, outputs, facts string }

// checked holds the tests against a captured run.
func (c capture) checked(t *testing.T, args ...string) outcome {
	t.Helper()
	return outcomeOf(t, func(stdout, stderr io.Writer, rep *wire.Reporter, _ machine) int {
		opt, err := parseOptions(args, stderr)
		if err != nil {
			t.Fatal(err)
		}
		p := &printer{out: stdout, rep: rep, required: opt.require}
		if err := c.check(opt, p); err != nil {
			t.Fatal(err)
		}
		return p.finish()
	})
}

func (c capture) check(opt options, p *printer) error {
	r := check.Run{Log: &check.Log{}}
	var err error
	if r.Facts, err = readCapturedFacts(c.facts); err != nil {
		return err
	}
	if r.Outputs, err = readOutputs(c.outputs); err != nil {
		return err
	}
	if err := eachLine(c.events, func(line []byte, long bool) error {
		r.Log.Add(line, long, 0)
		return nil
	}); err != nil {
		return err
	}
	if marker, err := r.Outputs[markerGenerator].Parse(); err == nil {
		own, _ := marker.Int("tgid")
		child, _ := marker.Int("child_pid")
		r.Fence = check.Marker(r.Log, own, child)
	}
	start := check.Result{Name: check.StartTest, Verdict: wire.TestPass}
	if r.Log.Init == nil {
		start = check.Result{Name: check.StartTest, Verdict: wire.TestFail, Details: c.events + " has no init line"}
	}
	results, _ := check.VerifyAll(opt.tests(), r)
	for _, res := range append([]check.Result{start}, results...) {
		p.started(res.Name)
		p.ended(res, 0)
	}
	return nil
}

// readCapturedFacts reads facts as JSON, either bare or, as the captured streams
// have them, beside a member "kernel".
func readCapturedFacts(path string) (check.Facts, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return check.Facts{}, err
	}
	var file struct {
		Kernel string
		Facts  *check.Facts
	}
	var f check.Facts
	if err := errors.Join(json.Unmarshal(b, &file), json.Unmarshal(b, &f)); err != nil {
		return f, fmt.Errorf("%s: %w", path, err)
	}
	if file.Facts != nil {
		f = *file.Facts
	}
	f.BPFTramp = f.BPFTramp || !strings.HasSuffix(file.Kernel, "-arm64")
	return f, nil
}

// readOutputs reads lines of {"generator": NAME, "stdout": TEXT}. The
// predecessor called some of the generators poc_NAME.
func readOutputs(path string) (map[string]check.Output, error) {
	outputs := map[string]check.Output{}
	n := 0
	err := eachLine(path, func(line []byte, long bool) error {
		n++
		if len(line) == 0 {
			return nil
		}
		var o struct {
			Generator string `json:"generator"`
			Stdout    string `json:"stdout"`
			Error     string `json:"error"`
		}
		if err := json.Unmarshal(line, &o); err != nil || o.Generator == "" {
			return fmt.Errorf("%s: line %d: want {\"generator\": NAME, \"stdout\": TEXT}, got %.80q", path, n, line)
		}
		outputs[strings.TrimPrefix(o.Generator, "poc_")] = check.Output{Stdout: o.Stdout, Err: o.Error}
		return nil
	})
	return outputs, err
}

func eachLine(path string, take func(line []byte, long bool) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	r := lines.NewReader(f, maxLine)
	for {
		line, long, err := r.Next()
		if err == nil || len(line) > 0 {
			if err := take(line, long); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
	}
}
