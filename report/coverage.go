package report

import (
	"fmt"
	"strings"
)

// Coverage is the Go coverage of all kernels together.
type Coverage struct {
	Kernels    int `json:"kernels" limit:"100000"` // whose profiles are in it, whatever became of them
	Of         int `json:"of" limit:"100000"`      // kernels of the list
	Statements int `json:"statements" limit:"2000000000"`
	Covered    int `json:"covered" limit:"2000000000"` // on any kernel

	Some     int             `json:"covered_on_some" limit:"2000000000"` // of Covered: not on all of Kernels
	Places   []CoveragePlace `json:"places,omitempty" limit:"100"`       // where these are, the most statements first
	Problems []string        `json:"problems,omitempty" limit:"100"`     // profiles that are left out, and why, one line each
}

// CoveragePlace is code that some kernels cover and others do not.
type CoveragePlace struct {
	At         string   `json:"at" limit:"500"` // file:first-last line
	Statements int      `json:"statements" limit:"2000000000"`
	On         []string `json:"on,omitempty" limit:"10"`       // kernels that cover it, some of them, if they are the fewer
	Not        []string `json:"not,omitempty" limit:"10"`      // or kernels that do not
	More       int      `json:"more,omitempty" limit:"100000"` // kernels that On or Not lacks
}

// Words says it in one line, with as many as most places. show quotes what comes
// from a guest.
func (c *Coverage) Words(most int, show func(string) string) string {
	s := fmt.Sprintf("no profile came of %s", Count(c.Of, "kernel"))
	if c.Kernels > 0 {
		s = fmt.Sprintf("%.1f %% of %s, on %s of %s", 100*float64(c.Covered)/float64(max(1, c.Statements)), Count(c.Statements, "statement"), Thousands(c.Kernels), Count(c.Of, "kernel"))
	}
	if c.Some > 0 {
		s += fmt.Sprintf("; %s covered on some of them only: ", Count(c.Some, "statement"))
		for i, p := range c.Places {
			if i == most {
				s += fmt.Sprintf(" and %s more", Count(len(c.Places)-i, "place"))
				break
			}
			names, which := p.On, "only on"
			if len(p.Not) > 0 {
				names, which = p.Not, "not on"
			}
			var shown []string
			for _, n := range names[:min(len(names), 3)] {
				shown = append(shown, show(n))
			}
			if n := len(names) - len(shown) + p.More; n > 0 {
				shown = append(shown, fmt.Sprintf("%s more", Thousands(n)))
			}
			if i > 0 {
				s += ", "
			}
			s += fmt.Sprintf("%s in %s (%s %s)", Thousands(p.Statements), show(p.At), which, strings.Join(shown, ", "))
		}
	}
	for i, p := range c.Problems {
		if i == most {
			return s + fmt.Sprintf("; and %s", Count(len(c.Problems)-i, "more problem"))
		}
		s += "; " + show(p)
	}
	return s
}
