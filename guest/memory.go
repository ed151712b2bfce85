package guest

import "fmt"

// Size is the memory that a payload's files take in the guest, in bytes.
func (p *Payload) Size() int64 {
	const page = 4096
	var n int64
	for _, f := range p.Files {
		n += (int64(len(f.Data)) + page - 1) / page * page
	}
	return n
}

// CheckMemory says whether files of size bytes can fit a guest with that many MiB
// of memory. The kernel that boots has them twice, in the archive and unpacked,
// and what it unpacks to takes half of the memory that the archive leaves; a
// restored guest gets them once, into a file system that takes nine tenths. What
// the kernel itself takes differs: what is let through may still not fit, and init
// says so.
func CheckMemory(size int64, memory int, restored bool) error {
	const (
		least  = 16 // MiB that kernel and init take at least
		enough = 96 // that are enough for a distribution's, with the 64th part that describes the memory
		step   = 64
	)
	mib := int((size + 1<<20 - 1) >> 20)
	need := 3*mib + least
	if restored {
		need = mib*10/9 + least
	}
	if memory >= need {
		return nil
	}
	would := (3*mib + enough) * 64 / 63
	return fmt.Errorf("the payload's files take %d MiB, which do not fit a VM of %d MiB: give --memory %d", mib, memory, (would+step-1)/step*step)
}
