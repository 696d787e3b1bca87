// Package arch holds tests of the architecture: which package may import which. The
// linters check the same rules line by line; these tests look at the whole graph, what
// is imported indirectly included.
package arch
