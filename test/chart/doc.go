// Package chart holds tests of the Helm chart. They render it with helm itself and decode
// every object strictly into its Go type, so a misspelt field or a value in a wrong place
// fails here and not in a cluster.
package chart
