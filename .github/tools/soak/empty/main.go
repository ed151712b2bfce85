// Empty is a payload that does nothing: a kernel that fails it fails by itself.
package main

func main() {}
