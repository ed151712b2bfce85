package shard

// NetModules are the modules that a VM with a network needs, where the kernel
// does not have them built in.
func NetModules() []string { return []string{"virtio_pci", "virtio_net"} }
