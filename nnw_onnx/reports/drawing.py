"""What page, figures and tables show of a report, each worked out and drawn once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from nnw_onnx.reports import names, tables
from nnw_onnx.reports.curves import Curve, Curves, curves
from nnw_onnx.reports.evidence import Evidence, Panel, evidence
from nnw_onnx.reports.forms import Table
from nnw_onnx.reports.matrix import Matrix, matrix
from nnw_onnx.reports.model import Report
from nnw_onnx.reports.names import Name
from nnw_onnx.reports.templating import templates

if TYPE_CHECKING:
    from markupsafe import Markup


@dataclass(frozen=True)
class Drawing:
    """A report as it is drawn.

    Attributes:
        report: what is drawn.
    """

    report: Report
    _panels: dict[int, tuple[Panel | Curve, Markup]] = field(default_factory=dict, repr=False)

    @cached_property
    def called(self) -> tuple[Name, ...]:
        """Names of the technologies."""
        return names.technology_names(self.report)

    @cached_property
    def matrix(self) -> Matrix:
        """Modifications by technologies."""
        return matrix(self.report, self.called)

    @cached_property
    def tables(self) -> Mapping[str, Table]:
        """Every table by its name."""
        return {table.name: table for table in tables.tables(self.report, self.matrix)}

    @cached_property
    def evidence(self) -> Evidence | None:
        """Evidence against loss, or None."""
        return evidence(self.report, self.called)

    @cached_property
    def curves(self) -> Curves | None:
        """Curves of the Modifications, or None."""
        return curves(self.report, self.called)

    def panel(self, panel: Panel | Curve, whole: Evidence | Curves) -> Markup:
        """One panel as SVG, which page and files share."""
        if id(panel) not in self._panels:
            macros = vars(templates().get_template("parts.html.j2").module)
            drawn = macros["evidence_panel" if isinstance(panel, Panel) else "curve_panel"]
            # The panel is kept too, so that no other one can have its id.
            self._panels[id(panel)] = panel, drawn(panel, whole)
        return self._panels[id(panel)][1]
