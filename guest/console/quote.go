// Package console reads what a guest's serial console says about its kernel:
// panics, oopses, splats, lockups, stalls. The console carries the payload's
// output as well, so guest and host agree on a way to tell the two apart:
// kernel messages carry a time stamp (printk.time=1), and init quotes whatever
// in the payload's output looks like one.
package console

// quote stands in a time stamp, behind its bracket, that is not the kernel's. It
// stands inside so that it is none any more: in front of a stamp it would be a
// payload's to write, and the kernel, which goes on in the middle of a line,
// would print its own behind it. The unit separator is invisible in terminals
// and means nothing to them.
const quote = 0x1f

// stampRE is a printk time stamp, such as "[    1.234567] ". A caller's id as
// CONFIG_PRINTK_CALLER adds it ("[    T1] ") belongs to it.
var stampRE = re(`\[ *([0-9]{1,17}\.[0-9]{6})\] ?(?:\[ *[TC][0-9]{1,23}\] ?)?`)

// Quote returns line with every printk time stamp in it marked as a payload's.
// It returns line itself when there is none.
func Quote(line []byte) []byte {
	stamps := stampRE().FindAllIndex(line, -1)
	if stamps == nil {
		return line
	}
	var out []byte
	done := 0
	for _, m := range stamps {
		out = append(append(out, line[done:m[0]+1]...), quote)
		done = m[0] + 1
	}
	return append(out, line[done:]...)
}
