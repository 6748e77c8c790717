#!/usr/bin/env bash
# The test suite on every Python from 3.11 that this machine has, with the oldest NumPy that is supported and the newest
# one; then in random order. One line for each; the output of those that fail is kept.
#
#     tests/stress/matrix.sh                                    all of it
#     SEEDS="1 2" MINORS=12 tests/stress/matrix.sh -x -k fit    two random orders, 3.12 only, options for pytest
set -uo pipefail
cd "$(dirname "$0")/../.."
unset PYTHONPATH
export CI=true # hypothesis draws the same examples each time

seeds=${SEEDS-1 2 3 4 5}
minors=${MINORS-11 12 13 14}
work=$(mktemp -d "${TMPDIR:-/tmp}/matrix-XXXXXX")
failed=0

mkdir "$work/copy" # which stays as it is, whatever is edited in the meantime
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$work/copy"
cd "$work/copy"

pythons() { # the newest one of each minor version
    for minor in $minors; do
        for found in "$HOME"/.pyenv/versions/3.$minor.*/bin/python3.$minor \
            "$HOME"/.local/share/uv/python/cpython-3.$minor.*/bin/python3.$minor "$(command -v python3.$minor)"; do
            "$found" -c "import sys, venv; sys.exit(sys.version_info[:2] != (3, $minor))" 2>/dev/null && echo "$found" && break
        done
    done
}

environment() { # environment FOLDER PYTHON NUMPY
    "$2" -m venv "$1" &&
        "$1/bin/pip" install --quiet --disable-pip-version-check --only-binary numpy,hatchling ".[test]" pytest-randomly "numpy$3"
} >"$1.log" 2>&1

cell() { # cell FOLDER WHAT [PYTEST OPTIONS]: run the suite, print a line
    local folder=$1 what=$2 start=$SECONDS log numpy
    shift 2
    log="$work/$(tr -c 'a-zA-Z0-9.\n' _ <<<"$what").log"
    numpy=$("$folder/bin/python" -c "import numpy; print(numpy.__version__)")
    "$folder/bin/python" -m pytest -q -p no:cacheprovider "$@" >"$log" 2>&1
    local code=$? summary
    summary=$(grep -E "^[0-9]+ (passed|failed|skipped)|^(FAILED|ERROR)" "$log" | head -5 | tr '\n' ';')
    if [ $code = 0 ]; then
        echo "$what (NumPy $numpy): green, $((SECONDS - start)) s"
    else
        failed=1
        echo "$what (NumPy $numpy): FAILED, exit code $code, see $log: $summary"
    fi
}

for python in $(pythons); do
    name=$("$python" -c "import sys; print('Python %d.%d.%d' % sys.version_info[:3])")
    for numpy in ==2.0.0 ==2.1.0 ""; do
        if [ "$numpy" = ==2.1.0 ] && [ -d "$work/$name==2.0.0/ok" ]; then
            continue # the first one there is for a Python that is younger than 2.0.0
        fi
        folder="$work/$name$numpy"
        if environment "$folder" "$python" "$numpy"; then
            mkdir "$folder/ok"
            cell "$folder" "$name, numpy${numpy:- newest}" -p no:randomly "$@"
            newest=$folder
        else
            echo "$name, numpy${numpy:- newest}: cannot be installed: $(tail -1 "$folder.log" | cut -c1-90)"
        fi
    done
done

for seed in $seeds; do
    cell "${newest:?no Python was found}" "$(basename "$newest"), random order $seed" -p randomly -p "no:cacheprovider" --randomly-seed="$seed" "$@"
done
exit $failed
