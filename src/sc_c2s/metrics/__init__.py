"""Scores: one function each, used by evaluations and tests alike."""

from __future__ import annotations

from .annotation import (
    HEADINGS,
    ChanceCalibration,
    annotation,
    annotation_by_label,
    annotation_table,
    chance_calibration_error,
    confusion,
    expected_calibration_error,
    paired,
    reliability,
)
from .answers import exact_match
from .baselines import annotation_baselines
from .cell_names import CellNames, CellOntology, cell_ontology
from .composition import composition_error
from .distances import (
    energy_distance,
    frechet_distance,
    gene_wasserstein,
    median_bandwidth,
    mmd,
    sliced_wasserstein,
)
from .effects import direction_match, discrimination_score, kendall_delta, pearson_delta, r2_delta
from .facts import GroupFacts, facts_of_groups, group_facts, markers
from .fold_changes import fold_change_agreement, log_fold_changes, top_gene_overlap, top_genes
from .generation import generation
from .grounding import grounding, grounding_shares
from .grounding_score import grounding_score
from .ontology import label_credit, ontology_distance, read_cell_ontology, read_cell_type_names
from .perturbation import perturbation
from .perturbation_baselines import perturbation_baselines
from .programs import change_program_score, program_scores, read_gmt, sentence_program_score
from .rankings import kendall_tau, rank_weighted_overlap, validity
from .scvi import scvi_cells
from .sentences import generated_sentences
from .summaries import summaries
from .text import bert_score, grounded

__all__ = [
    "HEADINGS",
    "CellNames",
    "CellOntology",
    "ChanceCalibration",
    "GroupFacts",
    "annotation",
    "annotation_baselines",
    "annotation_by_label",
    "annotation_table",
    "bert_score",
    "cell_ontology",
    "chance_calibration_error",
    "change_program_score",
    "composition_error",
    "confusion",
    "direction_match",
    "discrimination_score",
    "energy_distance",
    "exact_match",
    "expected_calibration_error",
    "facts_of_groups",
    "fold_change_agreement",
    "frechet_distance",
    "gene_wasserstein",
    "generated_sentences",
    "generation",
    "grounded",
    "grounding",
    "grounding_score",
    "grounding_shares",
    "group_facts",
    "kendall_delta",
    "kendall_tau",
    "label_credit",
    "log_fold_changes",
    "markers",
    "median_bandwidth",
    "mmd",
    "ontology_distance",
    "paired",
    "pearson_delta",
    "perturbation",
    "perturbation_baselines",
    "program_scores",
    "r2_delta",
    "rank_weighted_overlap",
    "read_cell_ontology",
    "read_cell_type_names",
    "read_gmt",
    "reliability",
    "scvi_cells",
    "sentence_program_score",
    "sliced_wasserstein",
    "summaries",
    "top_gene_overlap",
    "top_genes",
    "validity",
]
