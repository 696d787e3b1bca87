// Package expression computes a quantity from an expression such as max(cpu*50%, 50m): the language of
// a SidecarSet's resourcesPolicy.
//
// The language has numbers (1.5, 1e3), percentages (50% is 0.5), quantities (50m, 200Mi), one variable,
// + - * /, unary minus, parentheses, and max and min of two. A quantity has a unit, cores or bytes; a
// number has none. Quantities are added to quantities, and numbers to them as whole cores or bytes;
// a quantity is multiplied and divided by numbers only.
//
// Parse checks all that does not depend on the variable's value, so what was accepted fails later only
// for its value: by zero, or below zero at the end. Errors name the position, from 1. Arithmetic is exact.
package expression

import (
	"errors"
	"fmt"
	"math/big"
)

// Limits keep hostile input cheap.
const (
	// MaxLength of an expression, in bytes.
	MaxLength = 1024
	maxDepth  = 64
	maxBits   = 4096 // of a numerator or denominator
)

// Expression is one that was parsed.
type Expression struct {
	root node
	text string
}

// Error is what is wrong, and where.
type Error struct {
	Text string
	// Position is that of the byte, from 1.
	Position int
	Message  string
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("%q: at position %d: %s", e.Text, e.Position, e.Message)
}

// ErrNegative is the error of a result below zero.
var ErrNegative = errors.New("the result is below zero")

// Parse reads an expression over one variable. The variable is a quantity.
func Parse(text, variable string) (*Expression, error) {
	p := &parser{lexer: lexer{text: text}, variable: variable}
	if len(text) > MaxLength {
		return nil, p.fail(MaxLength, "the expression is longer than %d bytes", MaxLength)
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	root, err := p.sum()
	if err != nil {
		return nil, err
	}
	if p.token.kind != end {
		return nil, p.fail(p.token.at, "unexpected %s", p.token)
	}
	return &Expression{root: root, text: text}, nil
}

// Constant reports whether the variable does not occur: the result does not depend on it.
func (e *Expression) Constant() bool { return e.root.constant() }

// Evaluate computes the result for a value of the variable. The result is exact and not below zero.
func (e *Expression) Evaluate(variable *big.Rat) (*big.Rat, error) {
	out, err := e.root.value(&scope{variable: variable, text: e.text})
	if err != nil {
		return nil, err
	}
	if out.Sign() < 0 {
		return nil, fmt.Errorf("%q: %w: it is %s", e.text, ErrNegative, out.FloatString(3))
	}
	return out, nil
}

// String returns the text of the expression.
func (e *Expression) String() string { return e.text }

type scope struct {
	variable *big.Rat
	text     string
}

// node is a part of an expression. quantity tells one with a unit from a plain number.
type node interface {
	value(*scope) (*big.Rat, error)
	quantity() bool
	constant() bool
}

type literal struct {
	number *big.Rat
	unit   bool
}

func (l *literal) value(*scope) (*big.Rat, error) { return l.number, nil }
func (l *literal) quantity() bool                 { return l.unit }
func (l *literal) constant() bool                 { return true }

type variable struct{}

func (variable) value(s *scope) (*big.Rat, error) { return s.variable, nil }
func (variable) quantity() bool                   { return true }
func (variable) constant() bool                   { return false }

type negation struct{ of node }

func (n *negation) value(s *scope) (*big.Rat, error) {
	v, err := n.of.value(s)
	if err != nil {
		return nil, err
	}
	return new(big.Rat).Neg(v), nil
}
func (n *negation) quantity() bool { return n.of.quantity() }
func (n *negation) constant() bool { return n.of.constant() }

// operation is one of + - * / and, for max and min, M and m.
type operation struct {
	op          byte
	at          int
	left, right node
}

func (o *operation) quantity() bool { return o.left.quantity() || o.right.quantity() }
func (o *operation) constant() bool { return o.left.constant() && o.right.constant() }

func (o *operation) value(s *scope) (*big.Rat, error) {
	a, err := o.left.value(s)
	if err != nil {
		return nil, err
	}
	b, err := o.right.value(s)
	if err != nil {
		return nil, err
	}
	out := new(big.Rat)
	switch o.op {
	case '+':
		out.Add(a, b)
	case '-':
		out.Sub(a, b)
	case '*':
		out.Mul(a, b)
	case '/':
		if b.Sign() == 0 {
			return nil, &Error{Text: s.text, Position: o.at, Message: "division by zero"}
		}
		out.Quo(a, b)
	case 'M':
		out = pick(a, b, a.Cmp(b) >= 0)
	case 'm':
		out = pick(a, b, a.Cmp(b) <= 0)
	}
	if out.Num().BitLen() > maxBits || out.Denom().BitLen() > maxBits {
		return nil, &Error{Text: s.text, Position: o.at, Message: "the number is too large"}
	}
	return out, nil
}

func pick(a, b *big.Rat, first bool) *big.Rat {
	if first {
		return a
	}
	return b
}
