"""Every fault of a server at every moment of a workflow's life: see fault_matrix.py. FAULTS.md is the table of what is seen."""

import pytest

pytest.register_assert_rewrite("fault_life", "fault_matrix", "fault_network")

from fault_life import LIFE, LIFE_ROWS, OLDER_LIFE, OLDER_LIFE_ROWS  # noqa: E402
from fault_matrix import PHASES, ROWS, Bench, run_cell, run_cells, section, table, with_section  # noqa: E402
from fault_network import CABLE, CABLE_ROWS, why_not  # noqa: E402
from worker import BINARY, HERE, _why_not  # noqa: E402

TABLE = HERE / "FAULTS.md"
SERVER = {f"{row.name}-{phase}": (lambda cell, row=row: cell.run(row), row.options) for row in ROWS for phase in PHASES}
OLDER = {f"older-{row.name}-{phase}": (lambda cell, row=row: cell.run(row), {**row.options, "generation": "older"})
         for row in ROWS if row.older for phase in PHASES}
OLDER_ROWS = [(f"older-{row.name}", row.title, {phase: "SUCCESS, done once" for phase in PHASES}) for row in ROWS if row.older]
SERVER_ROWS = [(row.name, f"{row.title}; the log says \"{row.says}\"", {phase: "SUCCESS, done once" for phase in PHASES}) for row in ROWS]
# Name of a cell: (function, options of the Cell). Those that take longest come first.
CELLS = {**CABLE, **SERVER, **OLDER, **LIFE, **OLDER_LIFE}
TABLES = {"table of servers": list(table("The server …", SERVER_ROWS)), "table of older servers": list(table("The server of the older generation …", OLDER_ROWS)),
          "table of lives": list(table("The worker …", LIFE_ROWS + OLDER_LIFE_ROWS)),
          "table of cables": list(table("The network …", CABLE_ROWS))}


@pytest.fixture(scope="module")
def outcomes(request, tmp_path_factory):
    """All cells that were asked for, at the same time: {name: None or what went wrong}."""
    if why := _why_not():
        pytest.skip(why)
    if not BINARY.exists():
        pytest.fail(f"{BINARY} is not there: build it (see CONTRIBUTING.md), or set TINK_WORKER", pytrace=False)
    wanted = [item.callspec.params["cell"] for item in request.session.items
              if item.module is request.module and "cell" in getattr(getattr(item, "callspec", None), "params", {})]
    if why_not():
        wanted = [name for name in wanted if name not in CABLE]
    bench = Bench(tmp_path_factory.mktemp("faults"))
    try:
        yield run_cells({name: (lambda name=name: run_one(bench, name)) for name in wanted})
    finally:
        bench.close()


def run_one(bench, name):
    function, options = CELLS[name]
    row, _, phase = name.rpartition("-")
    run_cell(bench, row, phase, function, **options)


@pytest.mark.parametrize("cell", CELLS)
def test_fault(outcomes, cell):
    if cell in CABLE and why_not():
        pytest.skip(why_not())
    if outcomes[cell]:
        pytest.fail(outcomes[cell], pytrace=False)


@pytest.mark.parametrize("name", TABLES)
def test_table_is_true(name):
    """FAULTS.md has a cell for every test, and no other. To write it: python3 tests/e2e/test_faults.py"""
    assert section(TABLE.read_text(), name).splitlines() == TABLES[name]


if __name__ == "__main__":
    for table_name, lines in TABLES.items():
        TABLE.write_text(with_section(TABLE.read_text(), table_name, lines))
