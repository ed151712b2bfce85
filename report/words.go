package report

// What other writers of the result need to say it in the same words as the
// Markdown does, and in the same order.

// Headline is the verdict in one line, with nothing in it that a guest said:
// "3 kernels newly fail, 1 fixed, 117 of 120 pass".
func Headline(m *Merged) string { return headline(m) }

// Words say what a group is: "12 kernels fail TestX". They hold names that a
// guest chose, in one line.
func (g Group) Words() string {
	return groupWords(g, func(s string) string { return OneLine(s, 120) })
}

// Words say which kernels a boundary is about and where it lies.
func (b Boundary) Words() string {
	plain := func(s string) string { return OneLine(s, 120) }
	return boundaryName(b, plain) + ": " + b.Text(plain)
}

// Text is text from elsewhere made fit to be shown: valid UTF-8, lines that end
// in "\n", no escape sequences, no control, zero-width or bidirectional
// characters.
func Text(s string) string { return printableLines(s) }

// Place is where a kernel stands in an overview.
type Place struct {
	*Kernel
	Distro string
	Name   string // the id without the distribution; without further identifiers where that is enough
	Series string // the mainline release that it is of: "5.10"; "other" when its name says none
}

// Places are all kernels of a result by distribution and ascending version, and
// all series, ascending, "other" last.
func Places(m *Merged) (places []Place, series []string) {
	ix := newIndex(m)
	releases := map[string]int{}
	for _, e := range ix.kernels {
		releases[e.distro+"/"+e.version.release]++
	}
	for _, e := range ix.kernels {
		_, name := splitID(e.ID)
		if releases[e.distro+"/"+e.version.release] == 1 {
			name = e.version.release
		}
		places = append(places, Place{Kernel: e.Kernel, Distro: e.distro, Name: name, Series: e.version.series()})
	}
	return places, ix.grid().series
}

// TestVerdict is "pass", "fail" or "skip"; what is not known is "fail".
func TestVerdict(t Test) string { return testVerdict(t) }
