// Package docs checks the documentation: every example in it works.
package docs
