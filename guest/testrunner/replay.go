package testrunner

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/elastic/bpf-kernel-check/guest/lines"
	"github.com/elastic/bpf-kernel-check/guest/testrunner/check"
	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// replay checks a captured run.
func replay(opt options, p *printer) error {
	r := check.Run{Log: &check.Log{}}
	facts, err := os.ReadFile(opt.facts)
	if err != nil {
		return err
	}
	if r.Facts, err = check.ParseFacts(facts); err != nil {
		return fmt.Errorf("%s: %w", opt.facts, err)
	}
	if r.Outputs, err = readOutputs(opt.outputs); err != nil {
		return err
	}
	if err := eachLine(opt.replay, func(line []byte, long bool) error {
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
		start = check.Result{Name: check.StartTest, Verdict: wire.TestFail, Details: fmt.Sprintf("%s has no init line", opt.replay)}
	}
	results, _ := check.VerifyAll(opt.tests(), r)
	for _, res := range append([]check.Result{start}, results...) {
		p.started(res.Name)
		p.ended(res, 0)
	}
	return nil
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
