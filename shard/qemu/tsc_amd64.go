package qemu

import "time"

// rdtsc reads the processor's time stamp counter.
func rdtsc() uint64

// TSC measures the frequency of the host's time stamp counter, which under TCG
// is the guest's, in kHz. It takes 20 ms; 0 means that no sense can be made of
// the counter. Being interrupted in between does no harm: each end is taken
// from the closest of many readings.
func TSC() int {
	// The counter and the time at one moment.
	read := func() (count uint64, at time.Time) {
		best := time.Duration(1 << 62)
		for range 50 {
			before := time.Now()
			n := rdtsc()
			if took := time.Since(before); took < best {
				best, count, at = took, n, before.Add(took/2)
			}
		}
		return count, at
	}
	c0, t0 := read()
	time.Sleep(20 * time.Millisecond)
	c1, t1 := read()
	khz := int(float64(c1-c0) / t1.Sub(t0).Seconds() / 1000)
	if khz < 100_000 || khz > 10_000_000 {
		return 0
	}
	return khz
}
