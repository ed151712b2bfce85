package report

// Outcome is what a result comes to: the one verdict that the screen, all
// reports, the outputs and the exit code give.
type Outcome struct {
	Verdict Verdict // Pass, Fail, or Missing: not everything was tested
	Counts
}

// Counts are a result's kernels by what they mean for the whole. Each kernel is
// in one of Passed, FailedAsExpected, Failed and NotTested.
type Counts struct {
	Kernels          int // that there were to be
	Passed           int
	FailedAsExpected int
	Failed           int // failed, crashed or timed out, or stale
	Stale            int // of Failed: an expected failure did not come, or its entry has expired
	NotTested        int
}

// Add counts one kernel. What was expected and did not come fails a run,
// whatever the kernel's verdict.
func (c *Counts) Add(k *Result) {
	c.Kernels++
	switch {
	case len(k.StaleExpectations) > 0:
		c.Failed++
		c.Stale++
	case k.Verdict == Pass:
		c.Passed++
	case k.FailedAsExpected():
		c.FailedAsExpected++
	case k.Verdict.Tested():
		c.Failed++
	default:
		c.NotTested++
	}
}

// CountKernels counts results.
func CountKernels(kernels []Result) Counts {
	var c Counts
	for i := range kernels {
		c.Add(&kernels[i])
	}
	return c
}

// OK says whether every kernel passed, or failed as expected. It is true where
// there is none.
func (c Counts) OK() bool { return c.Passed+c.FailedAsExpected == c.Kernels }

// RunOutcome is what the results of one run come to, which was to test so many
// kernels. Those without a result were not tested; a shard without kernels
// passes. incomplete says that something else speaks against a pass.
func RunOutcome(planned int, kernels []Result, incomplete bool) Outcome {
	o := Outcome{Verdict: Pass, Counts: CountKernels(kernels)}
	if lost := planned - len(kernels); lost > 0 {
		o.Kernels += lost
		o.NotTested += lost
	}
	switch {
	case o.Failed > 0: // outweighs what was not tested
		o.Verdict = Fail
	case incomplete || !o.OK():
		o.Verdict = Missing
	}
	return o
}

// Outcome is what the shard's results come to.
func (f *ShardFile) Outcome() Outcome {
	return RunOutcome(len(f.Plan.Kernels), f.Kernels, f.Problem != "")
}

// Outcome is what the merged result comes to. A BPF program that grew by more than
// the run allows fails it. Verdict may make it worse than its kernels, programs and
// refusals say, never better.
func (m *Merged) Outcome() Outcome {
	o := RunOutcome(len(m.Kernels), m.Kernels, len(m.Kernels) == 0 || len(m.Refusals) > 0)
	if len(m.Change.TooCostly()) > 0 {
		o.Verdict = Fail
	}
	switch {
	case o.Verdict == Fail || m.Verdict == Pass:
	case m.Verdict == Fail:
		o.Verdict = Fail
	default:
		o.Verdict = Missing
	}
	return o
}

// ExitCode is the exit status of the command.
func (o Outcome) ExitCode() int {
	switch o.Verdict {
	case Pass:
		return ExitPass
	case Fail:
		return ExitFail
	default:
		return ExitNotTested
	}
}
