package pair

import (
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/mat"
)

var identity = Matrix{{1, 0, 0, 0}, {0, 1, 0, 0}, {0, 0, 1, 0}, {0, 0, 0, 1}}

// apart is the greatest difference of two matrices, relative to their
// greatest element.
func apart(a, b Matrix) float64 {
	most, scale := 0.0, 1e-300
	for i := range a {
		for j := range a {
			most, scale = max(most, math.Abs(a[i][j]-b[i][j])), max(scale, math.Abs(b[i][j]))
		}
	}
	return most / scale
}

func someVariances(rng *rand.Rand) (v vector) {
	for i := range v {
		v[i] = math.Exp(3 * rng.NormFloat64())
	}
	return v
}

func diagonalOf(v vector) (m Matrix) {
	for i := range v {
		m[i][i] = v[i]
	}
	return m
}

// After diagonalize's transformation base is the identity and each diagonal.
func TestDiagonalize(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 6))
	for n := range 300 {
		base, each := randomCovariance(rng, someVariances(rng)), randomCovariance(rng, someVariances(rng))
		if n%10 == 0 {
			each = outer(someVariances(rng), 1) // of rank one
		}
		rows, diagonal := diagonalize(base, each)
		to := Matrix(rows)
		if x := apart(multiply(multiply(to, base), transpose(to)), identity); x > 1e-8 {
			t.Errorf("%d: base is %g from the identity", n, x)
		}
		if x := apart(multiply(multiply(to, each), transpose(to)), diagonalOf(diagonal)); x > 1e-8 {
			t.Errorf("%d: each is %g from its diagonal", n, x)
		}
		for i, v := range diagonal {
			if v < 0 || math.IsNaN(v) {
				t.Errorf("%d: variance %d is %v", n, i, v)
			}
		}
	}
}

// positive leaves alone what is wide enough, and widens the rest to least and
// not more.
func TestPositive(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 6))
	for n := range 300 {
		least := someVariances(rng)
		m := randomCovariance(rng, someVariances(rng)).plus(diagonalOf(least), -1-rng.Float64())
		p := m.positive(least)
		if x := apart(p, transpose(p)); x > 1e-9 {
			t.Errorf("%d: it is %g from symmetric", n, x)
		}
		scaled := func(m Matrix) []float64 {
			for i := range m {
				for j := range m {
					m[i][j] /= math.Sqrt(least[i] * least[j])
				}
			}
			var eigen mat.EigenSym
			if !eigen.Factorize(m.dense(), false) {
				t.Fatal("no eigenvalues")
			}
			return eigen.Values(nil)
		}
		was := scaled(m)
		for i, v := range scaled(p) {
			if want := max(1, was[i]); math.Abs(v-want) > 1e-7*max(want, was[3]) {
				t.Errorf("%d: eigenvalue %d of %v became %v", n, i, was, v)
			}
		}
		if x := apart(p.positive(least), p); x > 1e-8 {
			t.Errorf("%d: a second time changes it by %g", n, x)
		}
	}
}

func TestSolveSymmetric(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 6))
	for n := range 300 {
		var half, a [nFeatures][nFeatures]float64
		var want, b [nFeatures]float64
		for i := range half {
			want[i] = 10 * rng.NormFloat64()
			for j := range half {
				half[i][j] = rng.NormFloat64()
			}
		}
		for i := range a {
			a[i][i] = 0.1
			for j := range a {
				for k := range a {
					a[i][j] += half[i][k] * half[j][k]
				}
			}
		}
		for i := range a {
			for j := range a {
				b[i] += a[i][j] * want[j]
			}
		}
		for i, x := range solveSymmetric(a, b) {
			if math.Abs(x-want[i]) > 1e-6 {
				t.Errorf("%d: unknown %d is %v, want %v", n, i, x, want[i])
			}
		}
	}
}

func TestRootAndInverse(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 6))
	for n := range 300 {
		m := randomCovariance(rng, someVariances(rng))
		if r := rootOf(m); apart(multiply(r, r), m) > 1e-8 || apart(r, transpose(r)) > 1e-8 {
			t.Errorf("%d: the square of the root is %g off", n, apart(multiply(r, r), m))
		}
		if x := apart(multiply(m, m.inverse()), identity); x > 1e-6 {
			t.Errorf("%d: times the inverse is %g from the identity", n, x)
		}
	}
}

// change is the difference of two densities of the t distribution, whatever
// the number of transfers.
func TestChangeOfDensity(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for n := range 200 {
		p := StartPriors().Plain
		p.Base, p.Each = randomCovariance(rng, vector{4, 4, 400, 2500}), randomCovariance(rng, vector{1, 1, 100, 400})
		c := newCosts(p, p.Mean)
		for _, transfers := range []int{0, 1, rng.IntN(60), manyTransfers - 1, manyTransfers, 1000} {
			from, to := vector{2, 3, 20, 50}, vector{}
			for i := range from {
				from[i] *= 3 * rng.NormFloat64()
				to[i] = from[i] * rng.NormFloat64()
			}
			freedom := 2 + 5*rng.Float64()
			got := c.change(c.transform(from), c.transform(to), transfers, freedom)
			want := slowDensity(p.Base.plus(p.Each, float64(transfers+1)), to, freedom) - slowDensity(p.Base.plus(p.Each, float64(transfers)), from, freedom)
			if !near(got, want, want) {
				t.Errorf("%d: after %d transfers it changes by %v, want %v", n, transfers, got, want)
			}
		}
	}
}
